-- OAuth states and refresh tokens, as far as one transaction can show (002-4 to 002-7, 002-16, 000-2, 000-3). What takes
-- several is in test/isolation and test/tap.
\set QUIET on
\pset format unaligned
\pset tuples_only on
\set ON_ERROR_STOP on
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT * FROM no_plan();

INSERT INTO rolecall.tenants (id, slug, name, is_active) VALUES ('00000000-0000-0000-0000-000000000001', 'closed', 'Closed', false);
INSERT INTO rolecall.users (id, email, provider, institutional_id, is_active, tenant_id) VALUES
    (9001, 'a@example.org', 'hr', '9001', true, NULL), (9002, 'b@example.org', NULL, NULL, true, NULL),
    (9003, 'inactive@example.org', NULL, NULL, false, NULL),
    (9004, 'closed@example.org', NULL, NULL, true, '00000000-0000-0000-0000-000000000001');

-- 002-5
SELECT matches(rolecall.create_oauth_state('google'), '^[A-Za-z0-9_-]{43}$', '002-5: 43 characters of URL-safe base64');
SELECT is((SELECT count(DISTINCT left(rolecall.random_token(), 43 + 0 * g)) FROM generate_series(1, 1000) g), 1000::bigint, '002-5: random');
SELECT is((SELECT count(DISTINCT c) FROM generate_series(1, 200) g, regexp_split_to_table(left(rolecall.random_token(), 43 + 0 * g), '') c), 64::bigint, '002-5: of the whole alphabet');
SELECT is((SELECT count(*) FROM generate_series(1, 100) g, LATERAL (SELECT left(rolecall.random_token(), 43 + 0 * g) AS t) s
           WHERE length(decode(translate(t, '-_', '+/') || '=', 'base64')) = 32), 100::bigint, '002-5: 32 bytes');

-- 002-4
SELECT rolecall.create_oauth_state('google', 9001, pkce => 'verifier', nonce => 'n', redirect_uri => 'https://app.example.org/') AS state \gset
SELECT is((SELECT state FROM rolecall.oauth_states WHERE pkce = 'verifier'), encode(sha256(:'state'), 'hex')::varchar, 'only a hash is stored');
SELECT is((SELECT expires_at - created_at FROM rolecall.oauth_states WHERE pkce = 'verifier'), interval '10 minutes', '002-4: ten minutes');

-- 002-6
SELECT ok(NOT rolecall.validate_and_consume_oauth_state(:'state', 'github'), '002-6: another provider''s: false');
SELECT ok(NOT rolecall.validate_and_consume_oauth_state('x' || substr(:'state', 2), 'google') OR left(:'state', 1) = 'x', '002-6: unknown: false');
SELECT ok(NOT rolecall.validate_and_consume_oauth_state(bad, 'google'), '002-6: malformed: false') FROM unnest(ARRAY[NULL, '', 'x', repeat('x', 100000), :'state' || ' ', :'state' || E'\n']) bad;
SELECT ok(rolecall.validate_and_consume_oauth_state(:'state', 'google'), '002-6: true once, nothing was consumed before');
SELECT ok(NOT rolecall.validate_and_consume_oauth_state(:'state', 'google'), '002-6: and no more');
SELECT rolecall.create_oauth_state('google') AS state \gset
UPDATE rolecall.oauth_states SET expires_at = clock_timestamp() WHERE state = encode(sha256(:'state'), 'hex');
SELECT ok(NOT rolecall.validate_and_consume_oauth_state(:'state', 'google'), '002-6: expired: false');
SELECT is((SELECT count(*) FROM rolecall.oauth_states WHERE state = encode(sha256(:'state'), 'hex')), 1::bigint, '002-6: ... and consumes nothing');
SELECT rolecall.create_oauth_state('google', 9001, pkce => 'verifier', nonce => 'n', redirect_uri => 'https://app.example.org/') AS state \gset
SELECT is((SELECT (s.provider, s.user_id, s.pkce, s.nonce, s.redirect_uri)::text FROM rolecall.consume_oauth_state(:'state', 'google') s),
    '(google,9001,verifier,n,https://app.example.org/)', 'consume_oauth_state() returns what was kept');
-- 002-16
SELECT throws_ok(format('SELECT rolecall.consume_oauth_state(%L, %L)', :'state', 'google'), 'RC202', 'invalid OAuth state', '002-16: an invalid state');
SELECT throws_ok('SELECT rolecall.create_oauth_state(NULL)', 'RC201', NULL, '002-16: no provider');
SELECT throws_ok($$SELECT rolecall.create_oauth_state('')$$, 'RC201', NULL, '002-16: an empty provider');
SET LOCAL rolecall.oauth_providers = 'google , microsoft';
SELECT lives_ok(format('SELECT rolecall.create_oauth_state(%L)', p), '002-16: known: ' || p) FROM unnest(ARRAY['google', 'microsoft']) p;
SELECT throws_ok(format('SELECT rolecall.%s', call), 'RC201', 'unknown OAuth provider github', '002-16: an unknown provider: ' || call)
FROM unnest(ARRAY['create_oauth_state(''github'')', 'validate_and_consume_oauth_state(''x'', ''github'')', 'consume_oauth_state(''x'', ''github'')']) call;
RESET rolecall.oauth_providers;
SELECT throws_ok($$SELECT rolecall.create_oauth_state('google', 1234567)$$, 'RC001', NULL, 'a user who is not there');
SELECT throws_ok($$SELECT rolecall.create_oauth_state('google', 9003)$$, 'RC002', NULL, 'a user who is inactive');
SELECT throws_ok(format($$SELECT rolecall.create_oauth_state('google', ttl => %L)$$, ttl), '22023', 'invalid ttl', 'a ttl of ' || coalesce(ttl, 'NULL'))
FROM unnest(ARRAY['0', '-1 s', '2 days', NULL]) ttl;
SELECT throws_ok(format($$SELECT rolecall.create_oauth_state('google', pkce => %L)$$, repeat('x', 129)), '22001', NULL, 'a verifier that is too long');
SELECT throws_ok(format($$SELECT rolecall.create_oauth_state(%L)$$, repeat('x', 51)), '22001', NULL, 'a provider that is too long');
-- 002-7
SELECT is(rolecall.cleanup_expired_oauth_states(), 1::bigint, '002-7: the count of what was expired');
SELECT is(rolecall.cleanup_expired_oauth_states(), 0::bigint, '002-7: nothing is left');

-- ---- Refresh tokens --------------------------------------------------------------------------------------------------

SELECT token AS first, user_id AS first_user FROM rolecall.issue_refresh_token(9001) \gset
SELECT is(:first_user, 9001, 'issued');
SELECT is((SELECT token_hash FROM rolecall.refresh_tokens), sha256(:'first'), 'only a hash is stored');
SELECT is((SELECT expires_at - created_at FROM rolecall.refresh_tokens), interval '30 days', 'thirty days');
SELECT throws_ok('SELECT rolecall.issue_refresh_token(1234567)', 'RC001', 'user not found', '000-3: unknown user');
SELECT throws_ok('SELECT rolecall.issue_refresh_token(NULL)', 'RC001', 'user not found', '000-3: no user');
SELECT throws_ok('SELECT rolecall.issue_refresh_token(9003)', 'RC002', 'user is inactive', 'inactive user');
SELECT throws_ok('SELECT rolecall.issue_refresh_token(9004)', 'RC002', 'user is inactive', 'a user of an inactive tenant');
SELECT throws_ok($$SELECT rolecall.issue_refresh_token(9001, '-1 day')$$, '22023', 'invalid ttl', 'a ttl that cannot be meant');
-- 000-2
DELETE FROM rolecall.sync_requests;
SELECT token AS second, expires_at - clock_timestamp() > interval '29 days 23 hours' AS renewed FROM rolecall.refresh(:'first') \gset
SELECT isnt(:'second'::text, :'first'::text, 'rotated');
SELECT ok(:'renewed', 'for the same time again');
SELECT is((SELECT (user_id, force)::text FROM rolecall.sync_requests), '(9001,f)', '000-2: asks for a role sync, not forced');
SELECT isnt((rolecall.refresh(:'first')).token, :'second'::text, 'a retry within the grace gets a token of its own');
SELECT is((SELECT count(DISTINCT family) FROM rolecall.refresh_tokens), 1::bigint, '... of the same family');
-- A sync that cannot be asked for is no reason to fail.
ALTER TABLE rolecall.sync_requests ADD CONSTRAINT broken CHECK (user_id < 0) NOT VALID;
DELETE FROM rolecall.sync_requests;
SELECT token AS third FROM rolecall.refresh(:'second') \gset
SELECT is(length(:'third'), 43, '000-2: an error of the sync never changes the response');
ALTER TABLE rolecall.sync_requests DROP CONSTRAINT broken;
SELECT lives_ok(format('SELECT rolecall.refresh(%L)', token), 'a user without a provider') FROM rolecall.issue_refresh_token(9002);
SELECT is((SELECT count(*) FROM rolecall.sync_requests WHERE user_id = 9002), 0::bigint, '... needs no sync');

-- 000-3
SELECT throws_ok('SELECT rolecall.refresh(NULL)', 'RC301', 'not authenticated', '000-3: no token');
SELECT throws_ok($$SELECT rolecall.refresh('')$$, 'RC301', 'not authenticated', '000-3: an empty token');
SELECT throws_ok(format('SELECT rolecall.refresh(%L)', bad), 'RC302', 'invalid refresh token', '000-3: malformed')
FROM unnest(ARRAY['x', 'Bearer ' || :'third', :'third' || ' ', repeat('é', 43)]) bad;
SELECT throws_ok(format('SELECT rolecall.refresh(%L)', rolecall.random_token()), 'RC303', 'invalid or expired refresh token', '000-3: unknown');
SELECT token FROM rolecall.issue_refresh_token(9001) \gset
UPDATE rolecall.refresh_tokens SET expires_at = clock_timestamp() WHERE token_hash = sha256(:'token');
SELECT throws_ok(format('SELECT rolecall.refresh(%L)', :'token'), 'RC304', 'invalid or expired refresh token', '000-3: expired');
SELECT token FROM rolecall.issue_refresh_token(9001) \gset
SELECT ok(rolecall.revoke_refresh_token(:'token'), 'revoked');
SELECT ok(NOT rolecall.revoke_refresh_token(:'token'), '... once');
SELECT ok(NOT rolecall.revoke_refresh_token(bad), '... and what is no token is not') FROM unnest(ARRAY[NULL, '', 'x', rolecall.random_token()]) bad;
SELECT throws_ok(format('SELECT rolecall.refresh(%L)', :'token'), 'RC305', 'invalid or expired refresh token', '000-3: revoked');
SELECT token FROM rolecall.issue_refresh_token(9001) \gset
SELECT (rolecall.refresh(:'token')).token AS next \gset
SELECT ok(rolecall.revoke_refresh_token(:'token'), 'a rotated token ends its login too');
SELECT throws_ok(format('SELECT rolecall.refresh(%L)', :'next'), 'RC305', NULL, '... all of it');
SELECT lives_ok(format('SELECT rolecall.refresh(%L)', :'third'), '... and no other login');

-- Ends of all logins
SELECT cmp_ok(rolecall.revoke_refresh_tokens(9001), '>', 1::bigint, 'revoke_refresh_tokens()');
SELECT is((SELECT count(*) FROM rolecall.refresh_tokens WHERE user_id = 9001 AND NOT revoked), 0::bigint, '... all of the user''s');
SELECT is((SELECT count(*) FROM rolecall.refresh_tokens WHERE user_id = 9002 AND NOT revoked), 2::bigint, '... and of nobody else');
SELECT throws_ok('SELECT rolecall.revoke_refresh_tokens(1234567)', 'RC001', NULL, 'an unknown user');
SELECT token FROM rolecall.issue_refresh_token(9001) \gset
UPDATE rolecall.users SET is_active = false WHERE id = 9001;
UPDATE rolecall.users SET is_active = true WHERE id = 9001;
SELECT throws_ok(format('SELECT rolecall.refresh(%L)', :'token'), 'RC305', NULL, 'deactivating a user ends the tokens, for good');
SELECT token FROM rolecall.issue_refresh_token(9002) \gset
UPDATE rolecall.users SET tenant_id = '00000000-0000-0000-0000-000000000001' WHERE id = 9002;
SELECT throws_ok(format('SELECT rolecall.refresh(%L)', :'token'), 'RC002', NULL, 'an inactive tenant');
DELETE FROM rolecall.users WHERE id = 9002;
SELECT throws_ok(format('SELECT rolecall.refresh(%L)', :'token'), 'RC303', NULL, 'a user who is gone');
UPDATE rolecall.refresh_tokens SET expires_at = clock_timestamp();
SELECT cmp_ok(rolecall.cleanup_expired_refresh_tokens(), '>', 5::bigint, 'expired tokens are removed');
SELECT is_empty('SELECT FROM rolecall.refresh_tokens', '... all of them');

SELECT * FROM finish();
ROLLBACK;
