#!/bin/sh
# Runs once, when the data folder is made: the owner of the tables, and the role that serves.
# Neither is above row-level security, which keeps tenants apart.
set -eu
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
  --set owner="$(cat /run/secrets/owner_password)" --set serving="$(cat /run/secrets/broker_password)" <<'SQL'
CREATE ROLE broker_owner LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'owner';
CREATE ROLE broker LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'serving';
CREATE DATABASE broker OWNER broker_owner;
REVOKE CONNECT, TEMPORARY ON DATABASE broker FROM PUBLIC;
GRANT CONNECT ON DATABASE broker TO broker;
\connect broker
SET ROLE broker_owner;
ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO broker;
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO broker;
SQL
