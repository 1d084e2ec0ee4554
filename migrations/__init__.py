"""The database's history, as Alembic migrations, packed with the program that runs them."""
