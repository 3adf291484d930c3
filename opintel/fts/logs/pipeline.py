"""The two stages of a stream of logs, on one page: lines → (by source) their forms in each window → new ones."""

from __future__ import annotations

from opintel.detector import Pipeline
from opintel.fts.logs.judge import NewLines
from opintel.fts.logs.reducer import LogReducer, SourceForms
from opintel.fts.logs.wire import LogLines, LogWire

PIPELINE = Pipeline(
    domain="logs",
    payload=LogLines,
    record=SourceForms,
    wire=LogWire,
    reducer=LogReducer,
    judges=(NewLines,),
    kinds={"new-template": ("scope", "template")},
    lines=(".log",),
)
