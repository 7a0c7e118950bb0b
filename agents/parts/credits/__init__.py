"""Credits: the advantage of an episode, shared out over its tokens."""
