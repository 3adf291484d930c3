"""The demo, and servers that stand for what a site has outside: only `cli` and tests import it, no service does.

* `site`: the settings of a demo; `plan`: the story that it tells
* `playing`: plays it, over the embedded log or a Kafka broker; `fleet`: its services, processes of their own
* `report`: what it says at its start and its end
* `receiver`: a small ticket system; `broker`: a Kafka broker of one's own
"""
