"""Reports: what a run can do, how sure that is, and what it was measured on, as one folder."""

from xmodal.report.examples import Example
from xmodal.report.record import Record
from xmodal.report.report import PREDICTION_COLUMNS, Report, find_report, read_report

__all__ = ["PREDICTION_COLUMNS", "Example", "Record", "Report", "find_report", "read_report"]
