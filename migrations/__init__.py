"""The database's history, as Alembic migrations, packed with the program so that it can migrate itself."""
