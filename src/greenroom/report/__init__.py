"""The kit for pages: page · charts · format · parts. It knows results, not phenomena."""
