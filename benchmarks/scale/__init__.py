"""What many consents cost a database: real rows, made many, and the statements that meet them."""
