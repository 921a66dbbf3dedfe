"""The listening side: connections of clients, one exchange per request."""
