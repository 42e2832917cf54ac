import os
import subprocess
import sys

import pytest
import torch

from xmodal.threads import choose_threads, usable_cores


@pytest.fixture(autouse=True)
def restore():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def siblings(*cores):
    """The files in which Linux says which CPUs share a core."""
    return {
        f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": ",".join(map(str, core))
        for core in cores
        for cpu in core
    }


def test_a_wanted_number_is_taken():
    assert choose_threads(3, 1) == torch.get_num_threads() == 3
    assert choose_threads(3, 8) == 3


def test_processes_share_the_cores():
    cores = usable_cores()
    assert choose_threads(None, 1) == torch.get_num_threads() == cores
    assert choose_threads(None, 2) == torch.get_num_threads() == max(1, cores // 2)
    assert choose_threads(None, 100 * cores) == torch.get_num_threads() == 1


def test_cpus_on_one_core_count_once(tmp_path):
    write(tmp_path, siblings((0, 4), (1, 5), (2, 6), (3, 7)))
    assert usable_cores(range(8), tmp_path) == 4
    assert usable_cores({0, 4}, tmp_path) == 1
    assert usable_cores({0, 1, 4}, tmp_path) == 2


def test_every_cpu_counts_where_the_system_does_not_tell(tmp_path):
    assert usable_cores(range(8), tmp_path) == 8


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "300000 100000"}, 3),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "250000 100000"}, 2),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "10000 100000"}, 1),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, 8),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "3200000 100000"}, 8),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/cpu.max": "400000 100000"}, 4),  # of the group above
        ({"proc/self/cgroup": "0::/not/here", "sys/fs/cgroup/cpu.max": "400000 100000"}, 4),
        (
            {
                "proc/self/cgroup": "7:cpu,cpuacct:/a\n3:cpuset:/",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "600000",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "200000",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            8,
        ),
    ],
)
def test_a_containers_quota_is_a_limit(tmp_path, files, cores):
    write(tmp_path, files)
    assert usable_cores(range(8), tmp_path) == cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux binds a process to CPUs")
def test_a_process_bound_to_one_cpu_takes_one_thread():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from xmodal.threads import choose_threads; print(choose_threads(None, 1))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["1"]
