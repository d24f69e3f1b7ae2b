"""Workers: processes that hold one engine each, and the server's side of them."""
