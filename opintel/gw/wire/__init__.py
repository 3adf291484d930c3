"""The wire of the GW stream: a message holds a second of an interferometer's channels. `encoder` writes them."""
