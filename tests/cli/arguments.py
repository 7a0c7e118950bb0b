"""Arguments of a base that is ready at once: no warm start, no curve, few problems."""

TINY = ["--digits", "1", "--problems", "2", "--group-size", "4", "--warm-start", "never", "--threads", "1"]
QUIET = ["--response-problems", "0", "--evaluation-problems", "8"]
