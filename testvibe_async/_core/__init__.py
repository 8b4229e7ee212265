"""How the library works; only the public modules beside it import it."""
