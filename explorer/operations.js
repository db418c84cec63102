// The operations of the menu, ready to run. A test holds each against the schema of the service.

const TOKENS = 'accessToken tokenType expiresIn refreshToken user { id email roles }'
const SESSION = 'id device userAgent ipAddress createdAt lastSeenAt expiresAt current'
const OWN_REVOCATION = 'revocation { id scope reason revokedAt expiresAt }'
const REVOCATION = 'id scope reason note subject sessionId tokenId revokedBy revokedAt expiresAt'

const FIND_USER_FIRST = 'Run "Find a user" first: the id is then filled in here.'

/**
 * What stands in an operation's variables is found when it is chosen: `known` holds the e-mail of
 * whoever is signed in, and the ids that earlier answers brought. The tokens of this page are not
 * written out: `{{accessToken}}` and `{{refreshToken}}` are replaced on sending, so they are always
 * the present ones, and appear neither in the editor nor in its history.
 */
export const groups = [
  {
    title: 'Your session',
    operations: [
      {
        title: 'Sign in',
        field: 'login',
        hint: 'This page keeps the tokens of the answer,\nand sends the access token from then on.',
        query: `mutation SignIn($email: String!, $password: String!, $device: String) {
          login(email: $email, password: $password, device: $device) {
            ${TOKENS} session { id device expiresAt }
          }
        }`,
        variables: ({ email = '' }) => ({ email, password: '', device: 'explorer' }),
      },
      {
        title: 'Who am I',
        field: 'me',
        query: 'query WhoAmI { me { id email roles suspended createdAt } }',
      },
      {
        title: 'My devices',
        field: 'sessions',
        query: `query MyDevices { sessions { ${SESSION} } }`,
      },
      {
        title: 'Refresh',
        field: 'refresh',
        hint: '{{refreshToken}} is the one this page holds.\nIt works once; the answer brings the next.',
        query: `mutation Refresh($refreshToken: String!) {
          refresh(refreshToken: $refreshToken) { ${TOKENS} }
        }`,
        variables: () => ({ refreshToken: '{{refreshToken}}' }),
      },
      {
        title: 'Prove that it is you',
        field: 'reauthenticate',
        hint: 'For acts that answer REAUTHENTICATION_REQUIRED.\nThis session goes on with the tokens of the answer.',
        query: `mutation ProveIt($password: String!) {
          reauthenticate(password: $password) { ${TOKENS} }
        }`,
        variables: () => ({ password: '' }),
      },
      {
        title: 'Change password',
        field: 'changePassword',
        hint: 'Ends all other sessions.\nThis one goes on with the tokens of the answer.',
        query: `mutation ChangePassword($currentPassword: String!, $newPassword: String!) {
          changePassword(currentPassword: $currentPassword, newPassword: $newPassword) { ${TOKENS} }
        }`,
        variables: () => ({ currentPassword: '', newPassword: '' }),
      },
      {
        title: 'Revoke a session',
        field: 'revokeSession',
        hint: 'Run "My devices" first: the id of another\nsession is then filled in here.',
        query: `mutation RevokeSession($id: ID!, $reason: String) {
          revokeSession(id: $id, reason: $reason) {
            alreadyRevoked session { id device endedAt } ${OWN_REVOCATION}
          }
        }`,
        variables: ({ sessionId = '' }) => ({ id: sessionId, reason: 'lost_phone' }),
      },
      {
        title: 'Log out',
        field: 'logout',
        hint: 'Ends this session. Then run "Who am I",\nand see the token refused.',
        query: `mutation LogOut { logout { alreadyRevoked ${OWN_REVOCATION} } }`,
      },
      {
        title: 'Log out all devices',
        field: 'logoutAllDevices',
        query: `mutation LogOutAllDevices($keepCurrent: Boolean! = false) {
          logoutAllDevices(keepCurrent: $keepCurrent) { endedSessions ${OWN_REVOCATION} }
        }`,
        variables: () => ({ keepCurrent: false }),
      },
    ],
  },
  {
    title: 'For admins',
    operations: [
      {
        title: 'Token status',
        field: 'tokenStatus',
        hint: '{{accessToken}} is your own.\nPut any other token in its place.',
        query: `query TokenStatus($token: String!) {
          tokenStatus(token: $token) {
            state subject sessionId tokenId issuedAt expiresAt revocation { ${REVOCATION} }
          }
        }`,
        variables: () => ({ token: '{{accessToken}}' }),
      },
      {
        title: 'Find a user',
        field: 'user',
        hint: 'The id found here is filled in when you\nthen choose an operation on a user.',
        query: `query FindUser($email: String) {
          user(email: $email) { id email roles suspended createdAt }
        }`,
        variables: ({ email = '' }) => ({ email }),
      },
      {
        title: 'Revoke a token',
        field: 'revokeToken',
        hint: 'An access or a refresh token.\nThe latter takes its session with it.',
        query: `mutation RevokeToken($token: String!, $reason: String, $note: String) {
          revokeToken(token: $token, reason: $reason, note: $note) {
            alreadyRevoked verified revocation { ${REVOCATION} }
          }
        }`,
        variables: () => ({ token: '', reason: 'token_leaked', note: null }),
      },
      {
        title: 'Revoke a user',
        field: 'revokeUser',
        hint: FIND_USER_FIRST,
        query: `mutation RevokeUser($userId: ID!, $reason: String, $note: String) {
          revokeUser(userId: $userId, reason: $reason, note: $note) {
            alreadyRevoked endedSessions revocation { ${REVOCATION} }
          }
        }`,
        variables: ({ userId = '' }) => ({ userId, reason: 'password_stolen', note: null }),
      },
      {
        title: 'Revoke everyone',
        field: 'revokeEveryone',
        hint: 'Refuses every token issued so far, yours too.\nEverybody has to sign in again.',
        query: `mutation RevokeEveryone($reason: String!, $note: String) {
          revokeEveryone(reason: $reason, note: $note) {
            alreadyRevoked endedSessions revocation { ${REVOCATION} }
          }
        }`,
        variables: () => ({ reason: 'security_incident', note: null }),
      },
      {
        title: 'Restore',
        field: 'restore',
        hint: 'Undoes a revocation: the id filled in is\nof the one that this page saw last.',
        query: `mutation Restore($revocationId: ID!, $note: String) {
          restore(revocationId: $revocationId, note: $note) {
            alreadyRestored revocation { ${REVOCATION} }
          }
        }`,
        variables: ({ revocationId = '' }) => ({ revocationId, note: null }),
      },
      {
        title: 'Suspend',
        field: 'suspendUser',
        hint: FIND_USER_FIRST,
        query: `mutation Suspend($userId: ID!, $reason: String, $note: String) {
          suspendUser(userId: $userId, reason: $reason, note: $note) {
            alreadySuspended user { id email suspended } revocation { ${REVOCATION} }
          }
        }`,
        variables: ({ userId = '' }) => ({ userId, reason: 'account_suspended', note: null }),
      },
      {
        title: 'Reinstate',
        field: 'reinstateUser',
        hint: FIND_USER_FIRST,
        query: `mutation Reinstate($userId: ID!, $note: String) {
          reinstateUser(userId: $userId, note: $note) {
            alreadyReinstated user { id email suspended }
          }
        }`,
        variables: ({ userId = '' }) => ({ userId, note: null }),
      },
      {
        title: 'Set roles',
        field: 'setUserRoles',
        hint: `${FIND_USER_FIRST}\nRevokes the tokens that carry the old roles.`,
        query: `mutation SetRoles($userId: ID!, $roles: [Role!]!, $note: String) {
          setUserRoles(userId: $userId, roles: $roles, note: $note) {
            alreadySet user { id email roles } revocation { ${REVOCATION} }
          }
        }`,
        variables: ({ userId = '' }) => ({ userId, roles: ['USER'], note: null }),
      },
      {
        title: 'Revocations in force',
        field: 'revocations',
        query: `query RevocationsInForce($first: Int, $after: String) {
          revocations(first: $first, after: $after) {
            totalCount edges { node { ${REVOCATION} } } pageInfo { hasNextPage endCursor }
          }
        }`,
        variables: () => ({ first: 20, after: null }),
      },
      {
        title: 'Journal',
        field: 'revocationEvents',
        query: `query Journal($first: Int, $after: String) {
          revocationEvents(first: $first, after: $after) {
            totalCount
            edges {
              node {
                id kind occurredAt actor note
                revocation { id scope reason subject sessionId tokenId }
              }
            }
            pageInfo { hasNextPage endCursor }
          }
        }`,
        variables: () => ({ first: 20, after: null }),
      },
    ],
  },
  {
    title: 'Live',
    operations: [
      {
        title: 'When my session ends',
        field: 'sessionEnded',
        hint: 'Stays open until this session ends: log out\nabove, or revoke it from another tab.',
        query: 'subscription SessionEnded { sessionEnded { scope reason revokedAt } }',
      },
      {
        title: 'Journal as it grows',
        id: 'liveJournal',
        field: 'revocationEvents',
        hint: 'For admins. Shows the latest event; the\nbutton ends it.',
        query: `subscription LiveJournal($after: String) {
          revocationEvents(after: $after) {
            kind occurredAt actor note cursor
            revocation { id scope reason subject sessionId tokenId }
          }
        }`,
        variables: () => ({ after: null }),
      },
      {
        title: 'Who is connected',
        field: 'connections',
        hint: 'For admins: to the node that answers.',
        query: `query WhoIsConnected($first: Int) {
          connections(first: $first) {
            totalCount counts { kind connections protected }
            edges { node { id kind subject sessionId ipAddress userAgent openedAt expiresAt operations } }
          }
        }`,
        variables: () => ({ first: 20 }),
      },
    ],
  },
]
