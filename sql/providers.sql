-- Providers: every option is checked at CREATE and ALTER.
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url 'https://hr.example.org/api/');
ALTER SERVER hr OPTIONS (ADD request_path '/people/{subject}?full=1', ADD roles_path '$.data.roles[*]', ADD role_path '$.name',
    ADD scope_kind_path '$.scope.kind', ADD scope_id_path '$.scope.id', ADD subject_path '$.data.id', ADD email_path '$.data.mail',
    ADD display_name_path '$.data.name', ADD function_path '$.data.job', ADD auth 'basic', ADD sync_ttl '15min', ADD request_timeout '2s');
CREATE USER MAPPING FOR CURRENT_USER SERVER hr OPTIONS (username 'u', password 'p');
ALTER USER MAPPING FOR CURRENT_USER SERVER hr OPTIONS (DROP username, DROP password, ADD token 't');
DROP SERVER hr CASCADE;

CREATE SERVER bad FOREIGN DATA WRAPPER rolecall;
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'hr.example.org');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'ftp://hr.example.org');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://user:secret@hr.example.org');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org/?q=1');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url '');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', nonsense '1');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', token '1');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', kind 'ldap');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', auth 'digest');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', request_path 'users/{subject}');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', request_path '/users');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', request_path '/users/{subject}/ roles');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', roles_path 'roles[');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', roles_path 'lax $.roles[*]');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', role_path '');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', sync_ttl 'soon');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', sync_ttl '-1s');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', request_timeout '0');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', sync_ttl '0');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', sync_ttl '300000 years');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', active_window '0');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', max_staleness '11 years');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', request_timeout '2 hours');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', headers 'X-Tenant');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', headers ': seven');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', headers 'X Tenant: seven');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', headers E'X-Tenant: se\x01ven');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', headers 'authorization: Bearer x');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', max_in_flight '0');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', max_in_flight 'many');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', active_path 'lax $.active');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', max_revocation '20');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', max_revocation '101%');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', max_revocation '%');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', revocation_window '1s');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', on_not_found 'delete');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', unknown_roles 'ignore');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', protected_roles ' , ');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', max_staleness '1ms');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', list_request_path 'users');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', list_request_path '/users/{subject}');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', list_paging 'offset', users_path '$.pages[0].users');
CREATE SERVER bad FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', secret_file 'secret');
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org');
ALTER SERVER hr OPTIONS (ADD active_path '$.status == "active"', ADD max_revocation '5%', ADD revocation_window '12 hours', ADD on_not_found 'revoke',
    ADD unknown_roles 'skip', ADD max_staleness '1 day', ADD secret_file '/run/secrets/hr', ADD protected_roles 'admin, head of unit');
ALTER SERVER hr OPTIONS (ADD headers E'X-Tenant: seven\nX-Trace: 1', ADD max_in_flight '8');
ALTER SERVER hr OPTIONS (DROP base_url);
ALTER SERVER hr OPTIONS (ADD auth 'magic');
CREATE USER MAPPING FOR CURRENT_USER SERVER hr OPTIONS (base_url 'x');
CREATE USER MAPPING FOR CURRENT_USER SERVER hr OPTIONS (token '');
CREATE USER MAPPING FOR CURRENT_USER SERVER hr OPTIONS (token E'a\r\nX-Role: admin');
CREATE USER MAPPING FOR CURRENT_USER SERVER hr OPTIONS (username 'a', password E'b\n');
CREATE USER MAPPING FOR CURRENT_USER SERVER hr OPTIONS (username 'a:b', password 'c');
ALTER FOREIGN DATA WRAPPER rolecall OPTIONS (ADD nonsense '1');
CREATE FOREIGN TABLE nothing (id int) SERVER hr OPTIONS (nonsense '1');

-- ca_file names a file that the server reads.
CREATE ROLE regress_provider;
GRANT USAGE ON FOREIGN DATA WRAPPER rolecall TO regress_provider;
GRANT CREATE ON DATABASE :"DBNAME" TO regress_provider;
SET ROLE regress_provider;
CREATE SERVER mine FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org', ca_file '/etc/passwd');
CREATE SERVER mine FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org');
RESET ROLE;
DROP SERVER mine;
DROP SERVER hr;
REVOKE CREATE ON DATABASE :"DBNAME" FROM regress_provider;
REVOKE USAGE ON FOREIGN DATA WRAPPER rolecall FROM regress_provider;
DROP ROLE regress_provider;
-- Nobody else may create one.
CREATE ROLE regress_nobody;
GRANT CREATE ON DATABASE :"DBNAME" TO regress_nobody;
SET ROLE regress_nobody;
CREATE SERVER mine FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'https://hr.example.org');
RESET ROLE;
REVOKE CREATE ON DATABASE :"DBNAME" FROM regress_nobody;
DROP ROLE regress_nobody;
