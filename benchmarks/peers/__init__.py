"""One module per peer, each with a `load(settings)` that returns a `Peer`."""
