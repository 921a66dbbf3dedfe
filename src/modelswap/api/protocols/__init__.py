"""What a client's protocol says in a stream."""
