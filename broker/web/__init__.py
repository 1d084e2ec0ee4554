"""Pages for people: the same use cases, server-rendered, Chinese and English."""
