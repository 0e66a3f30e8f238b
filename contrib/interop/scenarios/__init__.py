"""One file per scenario. Each has `async def run(stage)`; `lib/catalogue.py` lists them."""
