// Where the editor keeps its tabs, history and layout: in sessionStorage as the tokens are, since
// what somebody typed into an operation may be a token too. What looks like a password or a token
// is blanked before it is written: it stays in the editor, and is gone after a reload.

const PREFIX = 'graphiql:'

/** `password: "..."` in an operation, `"newPassword": "..."` in variables, finished or half typed. */
const SECRET = /("?\b\w*(?:password|token)"?\s*:\s*")(?!\{\{)(?:[^"\\\n]|\\.)*/gi

export const editorStorage = {
  getItem: (name) => sessionStorage.getItem(name),
  setItem: (name, value) => sessionStorage.setItem(name, withoutSecrets(name, value)),
  removeItem: (name) => sessionStorage.removeItem(name),
  get length() {
    return ownNames().length
  },
  clear() {
    for (const name of ownNames()) sessionStorage.removeItem(name)
  },
}

function ownNames() {
  return Object.keys(sessionStorage).filter((name) => name.startsWith(PREFIX))
}

function withoutSecrets(name, text) {
  switch (name) {
    case `${PREFIX}query`:
    case `${PREFIX}variables`:
      return blankSecrets(text)
    case `${PREFIX}tabState`:
    case `${PREFIX}queries`:
    case `${PREFIX}favorites`:
      // Records that hold operations, variables and headers as texts.
      return JSON.stringify(JSON.parse(text), (key, value) => {
        if (key === 'headers') return null
        return typeof value === 'string' ? blankSecrets(value) : value
      })
    default:
      return text
  }
}

function blankSecrets(text) {
  return text.replace(SECRET, '$1')
}
