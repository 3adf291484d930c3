"""Reads a topic to its end in little memory; says what it read. Run by test_log_kafka as a process of its own.

bombed.py BOOTSTRAP TOPIC ADDRESS-SPACE-BYTES
"""

import json
import resource
import sys
from pathlib import Path

from opintel.streams.kafka.reader import Reader

bootstrap, topic, room = sys.argv[1], sys.argv[2], int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_AS, (room, room))
reader = Reader({"bootstrap_servers": [bootstrap]})
position, told = 0, []
while items := reader.read(topic, 0, position, 100):
    told += [[at, value[:200].decode("latin-1")] for at, value, _ in items]
    position = items[-1][0] + 1
# this process's own peak: `ru_maxrss` begins at what the parent had when it forked
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps({"items": told, "peak": int(status["VmHWM"].split()[0]) << 10}))
reader.close()
