"""The demo, and servers that stand for what a site has outside: only `cli` and tests import it, no service does.

* `site`: the settings of a demo; `plan`: the story that it tells
* `embedded`, `cluster`: plays it in one process, or as processes over a Kafka broker (`fleet`)
* `report`: what it says at its start and its end
* `receiver`: a small ticket system; `broker`: a Kafka broker of one's own
"""
