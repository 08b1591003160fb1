-- For compose.yaml, run in the database that the server makes: the gateway's own role, and the one that its clients read as.
-- A view is shown to them by GRANT SELECT ON it TO gateway, web.
\getenv password GATEWAY_PASSWORD
CREATE ROLE web;
CREATE ROLE gateway LOGIN NOINHERIT PASSWORD :'password';
GRANT web TO gateway;
