"""Prompt templates as data, and class names as a person would say them."""

from xmodal.prompts.names import Named, bare_words, class_names, name_labels, read_names, readable
from xmodal.prompts.shipped import load_synonyms
from xmodal.prompts.templates import fill, load_templates, template_sets
from xmodal.prompts.text_file import is_unicode, read_text

__all__ = [
    "Named",
    "bare_words",
    "class_names",
    "fill",
    "is_unicode",
    "load_synonyms",
    "load_templates",
    "name_labels",
    "read_names",
    "read_text",
    "readable",
    "template_sets",
]
