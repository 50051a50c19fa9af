"""The audit log: what is written stays, and every change to it is found."""

from __future__ import annotations

import hashlib
import json
import signal

import pytest

from radplan.audit import AuditLog, read_audit, verify_audit
from radplan.errors import InputError


@pytest.fixture
def log_path(tmp_path):
    log = AuditLog(tmp_path / "new" / "audit.jsonl")
    log.append("start", {"case": "täst", "seed": 7})
    log.append("action", {"weight": 0.1, "reason": "Parotid_L mean is 3 Gy over"})
    log.append("step", {"dose": [1.5, 2], "met": True, "why": None})
    log.append("end", {})
    return log.path


def tampered(path, change):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(change(lines)))
    return [p.line for p in verify_audit(path)]


def test_chain_holds_and_reads_back(log_path):
    assert verify_audit(log_path) == []
    entries = read_audit(log_path)
    assert [e["kind"] for e in entries] == ["start", "action", "step", "end"]
    assert entries[0]["data"] == {"case": "täst", "seed": 7}
    assert entries[0]["previous"] == "0" * 64
    assert entries[0]["time"].endswith("+00:00")


def test_hash_is_sha256_of_canonical_json(log_path):
    entry = read_audit(log_path)[1]
    digest = entry.pop("hash")
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert digest == hashlib.sha256(text.encode()).hexdigest()


def test_resume_continues_the_chain(log_path):
    log = AuditLog(log_path)
    assert len(log) == 4
    log.append("more", {"n": 5})
    assert verify_audit(log_path, head=log.head) == []
    assert read_audit(log_path)[-1]["index"] == 4


@pytest.mark.parametrize("line", range(4))
def test_any_changed_byte_is_found(log_path, line):
    """Flip every byte of a line in turn; no flip goes unnoticed."""
    original = log_path.read_bytes()
    lines = original.splitlines(keepends=True)
    start = sum(map(len, lines[:line]))
    for offset in range(start, start + len(lines[line]) - 1):
        data = bytearray(original)
        data[offset] ^= 1
        log_path.write_bytes(data)
        assert any(not p.torn for p in verify_audit(log_path)), data[offset - 5 : offset + 5]


def test_one_change_is_reported_where_it_is(log_path):
    def change(lines):
        lines[1] = lines[1].replace(b'"weight":0.1', b'"weight":0.2')
        return lines

    assert tampered(log_path, change) == [2]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"seed":7', b'"seed":8,"seed":7'),  # a repeated key: JSON readers keep the last
        (b'"seed":7', b'"seed": 7'),
        (b'"seed":7', b'"seed":7.0'),
        (b'"seed":7', b'"seed":NaN'),
        (b'"seed":7', b'"seed":"\\ud800"'),
        (b'"kind":"start"', b'"extra":1,"kind":"start"'),
    ],
)
def test_changes_that_json_hides_are_found(log_path, old, new):
    assert old in log_path.read_bytes()
    assert 1 in tampered(log_path, lambda lines: [lines[0].replace(old, new), *lines[1:]])


def test_removed_inserted_and_swapped_lines_are_found(log_path):
    original = log_path.read_bytes()
    assert tampered(log_path, lambda lines: lines[1:]) != []
    log_path.write_bytes(original)
    assert tampered(log_path, lambda lines: lines[:1] + lines[2:]) != []
    log_path.write_bytes(original)
    assert tampered(log_path, lambda lines: [lines[0], lines[0], *lines[1:]]) != []
    log_path.write_bytes(original)
    assert tampered(log_path, lambda lines: [lines[0], lines[2], lines[1], lines[3]]) != []


def test_changed_line_with_new_hash_breaks_the_next(log_path):
    """Who changes a line and computes its hash anew must do so for all that follow."""

    def change(lines):
        entry = json.loads(lines[1])
        entry["data"]["weight"] = 9
        del entry["hash"]
        text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        entry["hash"] = hashlib.sha256(text.encode()).hexdigest()
        line = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        lines[1] = line.encode() + b"\n"
        return lines

    assert tampered(log_path, change) == [3]


def test_cut_end_is_found_when_the_head_is_known(log_path):
    head = AuditLog(log_path).head
    lines = log_path.read_bytes().splitlines(keepends=True)
    log_path.write_bytes(b"".join(lines[:-1]))
    assert verify_audit(log_path) == []
    assert verify_audit(log_path, head=head) != []


def test_torn_last_line_is_tolerated_and_logged(log_path):
    whole = log_path.read_bytes()
    log_path.write_bytes(whole[:-20])
    problems = verify_audit(log_path)
    assert [p.torn for p in problems] == [True]
    assert len(read_audit(log_path)) == 3
    log = AuditLog(log_path)
    log.append("resumed", {})
    assert verify_audit(log_path) == []
    assert [e["kind"] for e in read_audit(log_path)][-2:] == ["torn line dropped", "resumed"]


def test_damaged_log_is_not_continued(log_path):
    log_path.write_bytes(log_path.read_bytes().replace(b'"seed":7', b'"seed":8'))
    before = log_path.read_bytes()
    with pytest.raises(InputError, match="line 1"):
        AuditLog(log_path)
    with pytest.raises(InputError, match="line 1"):
        read_audit(log_path)
    assert log_path.read_bytes() == before


@pytest.mark.parametrize("data", [{"x": float("nan")}, {"x": float("inf")}, {"x": object()}])
def test_what_json_cannot_hold_is_refused_and_leaves_the_log_whole(log_path, data):
    log = AuditLog(log_path)
    with pytest.raises((ValueError, TypeError)):
        log.append("bad", data)
    log.append("good", {})
    assert verify_audit(log_path) == []


def test_number_keys_and_tuples_become_what_json_reads_back(log_path):
    AuditLog(log_path).append("odd", {"gantry": {10: 1, 2: (3, 4)}})
    assert verify_audit(log_path) == []
    assert read_audit(log_path)[-1]["data"] == {"gantry": {"10": 1, "2": [3, 4]}}


def test_full_disk_leaves_no_half_line(log_path):
    """The system writes half a line at the file size limit; the log takes it back."""
    resource = pytest.importorskip("resource", reason="file size limits need a POSIX system")
    before = log_path.read_bytes()
    log = AuditLog(log_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 30, limits[1]))
        with pytest.raises(OSError):
            log.append("too long", {"text": "x" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert log_path.read_bytes() == before
    log.append("fits", {})
    assert verify_audit(log_path) == []


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        verify_audit(tmp_path / "nowhere.jsonl")


def test_empty_log_is_whole(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"")
    assert verify_audit(tmp_path / "a.jsonl") == []
    assert AuditLog(tmp_path / "a.jsonl").head == "0" * 64
