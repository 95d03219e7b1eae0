"""HTTP/1.1 as values: heads, headers, framing, parsing, encoding. No sockets, no policy, no clock."""
