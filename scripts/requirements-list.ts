/**
 * What a token-revocation service has to keep, one line each, with where it comes from: RFC 6749,
 * 6750, 7009, 7515, 7519, 7662, 8725 (and its bis draft), 9068; OWASP JWT and GraphQL cheat sheets;
 * OWASP ASVS 5.0; NIST SP 800-63B-4.
 *
 * A test names the ids it proves in a comment; `npm run requirements` makes the table of both.
 */

export interface Requirement {
  readonly id: string
  readonly text: string
}

export interface RequirementGroup {
  readonly title: string
  readonly requirements: readonly Requirement[]
}

/**
 * Why a requirement has no test, or not yet a whole one: shown in the table as "open: <why>".
 * An id that no test names and that has no reason here fails `npm run check:requirements`.
 */
export const open: Readonly<Record<string, string>> = {}

export const groups: readonly RequirementGroup[] = [
  {
    title: 'Revocation itself',
    requirements: [
      {
        id: 'Q01',
        text: 'After logout/revokeToken has answered success, the token is refused on every node within the stated bound. RFC 7009 2.1; ASVS 7.4.1.',
      },
      { id: 'Q02', text: 'Success is answered only after a durable commit. RFC 7009 2.2.1.' },
      {
        id: 'Q03',
        text: 'If the store fails the mutation answers an error the client can retry, not success. RFC 7009 2.2.1.',
      },
      {
        id: 'Q04',
        text: 'If the check cannot be made, protected fields are refused (fail closed) - or the documented grace applies; public fields still work. ASVS 16.5.2/16.5.3.',
      },
      {
        id: 'Q05',
        text: 'Key on (iss, jti), session or subject from the *verified* claims, never on the token text or its digest. OWASP JWT "JWT denylist" (2026-06-22).',
      },
      {
        id: 'Q06',
        text: 'Tokens that cannot be tracked (no/invalid jti, exp, iat, iss) are refused at verification. OWASP (reject upstream); RFC 9068 2.2.',
      },
      {
        id: 'Q07',
        text: "Verify signature and claims before any store write. A forged token writes nothing, but for an admin's `revokeToken`: then one entry, keyed on the digest of the signing input, for at most 24 hours whatever the token claims. ASVS 9.1.1.",
      },
      {
        id: 'Q08',
        text: 'Revoking is idempotent; first reason and time are kept; one row, one audit event. RFC 7009 2.2.',
      },
      {
        id: 'Q09',
        text: 'Unknown, expired, malformed, already revoked tokens do not cause an error that tells them apart to strangers. RFC 7009 2.2; Okta.',
      },
      {
        id: 'Q10',
        text: "Only the owner (or an admin role) may revoke a token; another's token is not touched. RFC 7009 2.1; ASVS 8.3.1, 7.4.5.",
      },
      {
        id: 'Q11',
        text: 'Logout also ends the refresh token of the session; revoking a refresh token ends its access tokens. RFC 7009 2.1 (SHOULD/MAY); flask docs.',
      },
      {
        id: 'Q12',
        text: 'logoutAllDevices ends every token issued before it, including those of the same second, those without iat, and those minted by a refresh in flight; tokens issued after it work. ASVS 7.4.1/7.5.2.',
      },
      { id: 'Q13', text: 'Disabled or deleted account: all tokens refused. ASVS 7.4.2.' },
      {
        id: 'Q14',
        text: 'Password or factor change ends (or offers to end) all other sessions. ASVS 7.4.3.',
      },
      { id: 'Q15', text: 'Admin can end the sessions of one user and of all users. ASVS 7.4.5.' },
      {
        id: 'Q16',
        text: 'Users see and end their sessions, after authenticating again. ASVS 7.5.2; 7.5.1/7.5.3 for sensitive acts.',
      },
      {
        id: 'Q17',
        text: 'A denylist row lives at least until exp + leeway + maximum clock skew. OWASP ("must endure at least until the expiration"); keycloak "at least".',
      },
      {
        id: 'Q18',
        text: 'Rows are removed after that; the table is bounded by (revocations per second x longest lifetime).',
      },
      {
        id: 'Q19',
        text: 'Cache answers about a token no longer than the stated bound and never past exp. RFC 7662 4.',
      },
      {
        id: 'Q20',
        text: "A change of roles or of the account's state applies at once: the tokens that carry the old ones are refused. ASVS 8.3.2.",
      },
      {
        id: 'Q21',
        text: "The reason shown to a token's holder is a short bounded label; the note is for the journal and admins only. Both bounded, stored as text, never interpreted. ASVS 16.2.1, 16.5.1.",
      },
    ],
  },
  {
    title: 'Token verification',
    requirements: [
      {
        id: 'Q22',
        text: 'One configured algorithm per key; none in any spelling refused. RFC 8725 3.1/3.2; rfc8725bis-09 3.1 ("each key MUST be used with exactly one algorithm"); ASVS 9.1.2.',
      },
      {
        id: 'Q23',
        text: 'Keys only from configuration; jku, x5u, jwk, x5c ignored or refused; no outgoing connection. ASVS 9.1.3; RFC 8725 3.10.',
      },
      {
        id: 'Q24',
        text: 'kid is a lookup key in a fixed map (own properties only). RFC 8725 3.10.',
      },
      { id: 'Q25', text: 'Unknown crit and b64=false refused. RFC 7515 4.1.11; RFC 7797.' },
      {
        id: 'Q26',
        text: 'A token is exactly `[A-Za-z0-9_-]+ . [A-Za-z0-9_-]+ . [A-Za-z0-9_-]+`; other characters MUST be refused. rfc8725bis-09 3.14; RFC 7515 2.',
      },
      {
        id: 'Q27',
        text: 'exp and nbf enforced, finite numbers only; bounded leeway (<= a few seconds documented). ASVS 9.2.1; RFC 7519 4.1.4.',
      },
      {
        id: 'Q28',
        text: 'Maximum lifetime exp - iat enforced; iat not in the future beyond skew.',
      },
      {
        id: 'Q29',
        text: "iss exact, aud contains us, sub a non-empty bounded string; a suspended or deleted account's tokens are refused through an entry. RFC 8725 3.8/3.9; ASVS 9.2.3, 10.3.1, 10.3.3.",
      },
      {
        id: 'Q30',
        text: 'Kinds of token are told apart (typ at+jwt / claim / audience / key), both ways. RFC 8725 3.11/3.12; RFC 9068 4; ASVS 9.2.2.',
      },
      {
        id: 'Q31',
        text: 'Claims set is a JSON object in UTF-8; duplicates refused or last wins, one parser for check and revoke. RFC 7519 4; RFC 8725 3.7.',
      },
      {
        id: 'Q32',
        text: 'HMAC secret >= 256 bits of randomness, no default, start refused otherwise. RFC 8725 3.5; OWASP JWT ("at least the same size as the output"); Wycheproof key 10-12.',
      },
      {
        id: 'Q33',
        text: 'jti from a CSPRNG with >= 128 bits. ASVS 7.2.3 (reference tokens); NIST >= 64 bits.',
      },
      { id: 'Q34', text: 'Key rotation: two keys verify, one signs; revocations survive.' },
      { id: 'Q35', text: 'A new token, jti and session at every login. ASVS 7.2.4.' },
      {
        id: 'Q36',
        text: 'No secrets, tokens, SQL or stack traces in errors and logs; tokens only hashed or masked. ASVS 16.2.5, 16.5.1.',
      },
    ],
  },
  {
    title: 'HTTP / GraphQL',
    requirements: [
      {
        id: 'Q37',
        text: 'Scheme name case-insensitive; malformed header refused, not ignored into a 500. RFC 9110 11.1.',
      },
      {
        id: 'Q38',
        text: 'One way to transmit per request; not in the URL. RFC 6750 2 ("MUST NOT use more than one method"), 5.3.',
      },
      {
        id: 'Q39',
        text: 'If HTTP 401 is used: WWW-Authenticate Bearer, error="invalid_token" only when a token was sent. RFC 6750 3/3.1.',
      },
      { id: 'Q40', text: 'Token answers carry Cache-Control: no-store. RFC 6749 5.1.' },
      {
        id: 'Q41',
        text: 'GraphQL-over-HTTP: all 13 MUST audits pass (baseline Apollo 5.5.1: MUST 13/13, SHOULD 20/23, MAY 22/25).',
      },
      {
        id: 'Q42',
        text: 'No mutation by GET; simple requests blocked (CSRF). Apollo csrfPrevention; graphql-cop; NIST 800-63B-4 5.1 (POST content protected).',
      },
      {
        id: 'Q43',
        text: 'Aliases, depth, tokens, directives, body size, batch limited per document and per login attempt. ASVS 4.3.1, 2.4.1, 6.3.1; OWASP GraphQL.',
      },
      {
        id: 'Q44',
        text: 'Introspection and suggestions off in production. ASVS 4.3.2; OWASP GraphQL.',
      },
      {
        id: 'Q45',
        text: '@auth holds on every path to a field (alias, fragment, interface, relation, node). OWASP GraphQL ("edges and nodes").',
      },
      { id: 'Q46', text: 'Guarded resolvers do not run when refused.' },
      { id: 'Q47', text: 'One poison entry fails alone.' },
      { id: 'Q48', text: 'Unused methods blocked; wrong content types 415/400. ASVS 4.1.4.' },
      { id: 'Q49', text: 'Proxy headers cannot set identity or evade rate limits. ASVS 4.1.3.' },
      {
        id: 'Q50',
        text: 'Subscriptions: checked at connect and ended on revocation. ASVS 4.4.3/4.4.4.',
      },
      {
        id: 'Q51',
        text: 'Dependencies: @apollo/server >= 5.5.0 (XS-Search fix) and with the fix of CVE-2026-23897 (standalone DoS); jsonwebtoken >= 9.0.0 (CVE-2022-23539/40/41); jws > 3.2.2 / > 4.0.0 (GHSA-869p-cjfg-cm3x).',
      },
    ],
  },
  {
    title: 'Sessions, lifetime, refresh',
    requirements: [
      {
        id: 'Q52',
        text: 'Refresh rotation; reuse of an old token ends the family. ASVS 10.4.5; RFC 9700.',
      },
      { id: 'Q53', text: 'Refresh tokens have an absolute end even when sliding. ASVS 10.4.8.' },
      {
        id: 'Q54',
        text: 'Absolute and idle limits documented and enforced. ASVS 7.1.1, 7.3.1, 7.3.2; NIST SP 800-63B-4 2.x.3: AAL1 SHOULD <= 30 days; AAL2 SHOULD <= 24 h and idle <= 1 h; AAL3 SHALL <= 12 h and idle SHOULD <= 15 min.',
      },
      {
        id: 'Q55',
        text: 'An access token is no proof of presence (NIST 800-63B-4 5.1.2): step-up for revoke-all by admin and for sensitive fields. ASVS 7.5.3, 10.3.4 (auth_time).',
      },
      { id: 'Q56', text: 'Concurrent session limit documented. ASVS 7.1.2.' },
      { id: 'Q57', text: 'State checks and the act are one atomic step. ASVS 15.4.2 (TOCTOU).' },
    ],
  },
  {
    title: 'Operation',
    requirements: [
      {
        id: 'Q58',
        text: 'Pool size, queueing, timeouts, retries documented and enforced. ASVS 13.1.2, 13.1.3, 13.2.6.',
      },
      {
        id: 'Q59',
        text: 'Last-resort handlers: no unhandled error ends the process. ASVS 16.5.4.',
      },
      {
        id: 'Q60',
        text: 'Security events logged with who/when/what in UTC: login, failure, logout, revoke, refused use of a revoked token, refresh reuse. ASVS 16.2.1, 16.2.2, 16.3.1-16.3.3.',
      },
      {
        id: 'Q61',
        text: 'DB role of the API: least privilege (no DDL; cleanup role apart). ASVS 13.2.2.',
      },
      {
        id: 'Q62',
        text: '/health tells live from ready; not ready when the revocation store is unreachable or the cache is older than its bound.',
      },
      {
        id: 'Q63',
        text: 'Metrics: age of the newest applied revocation per node, check latency, fail-closed count.',
      },
    ],
  },
]
