// The menu of ready-made operations, as a plugin of the editor: its third icon on the left.

import { groups } from './operations.js'

/* global GraphiQL, React, ReactDOM */
const h = React.createElement
const { parse, print } = GraphiQL.GraphQL

/** What a new tab starts with. */
export const emptyDocument =
  '# Choose an operation on the left, or write one:\n# Ctrl-Space completes.\n\n'

/** An operation is known by its field, unless two have the same. */
const menu = groups.map(({ title, operations }) => ({
  title,
  operations: operations.map((operation) => ({ id: operation.field, ...operation })),
}))

const documents = new Map(
  menu
    .flatMap(({ operations }) => operations)
    .map(({ id, hint, query }) => [id, writeDocument(hint, query)]),
)

/** What the page starts with. */
export const firstDocument = documents.get('me')

function writeDocument(hint, query) {
  const comment = hint ? `${hint.replaceAll(/^/gm, '# ')}\n` : ''
  return `${comment}${print(parse(query))}\n`
}

/**
 * @param getKnown gives what operations are filled in with: `{ email, userId, ... }`.
 * @param onLoad is told that an operation took the place of what was there.
 */
export function createOperationsMenu({ getKnown, onLoad }) {
  const Menu = () => {
    const editor = GraphiQL.React.useEditorContext({ nonNull: true })
    const { stop } = GraphiQL.React.useExecutionContext({ nonNull: true })
    const choose = (operation) => {
      // A subscription would go on, and the button be its own.
      stop()
      loadOperation(editor, operation, getKnown())
      onLoad()
    }

    return h(
      'div',
      { className: 'operations' },
      h('h2', null, 'Operations'),
      menu.map((group) => h(Group, { key: group.title, group, choose })),
    )
  }

  return { title: 'Operations', icon: Icon, content: Menu }
}

function Group({ group, choose }) {
  const items = group.operations.map((operation) =>
    h(
      'li',
      { key: operation.id },
      h(
        'button',
        {
          type: 'button',
          'data-operation': operation.id,
          onClick: () => choose(operation),
        },
        operation.title,
        h('code', null, operation.field),
      ),
    ),
  )
  return h('section', null, h('h3', null, group.title), h('ul', null, items))
}

function Icon() {
  const icon = React.useRef(null)
  const { queryEditor, variableEditor } = GraphiQL.React.useEditorContext({ nonNull: true })

  React.useEffect(() => {
    // Opens the menu at the start: the editor's own `visiblePlugin` leaves the pane shut.
    icon.current.closest('button').click()
  }, [])
  React.useEffect(() => {
    queryEditor?.setOption('lineWrapping', true)
    variableEditor?.setOption('lineWrapping', true)
  }, [queryEditor, variableEditor])

  return h(
    'svg',
    { ref: icon, viewBox: '0 0 24 24', fill: 'none', stroke: 'currentColor', strokeWidth: 1.5 },
    h('path', { d: 'M8 6h13M8 12h13M8 18h13', strokeLinecap: 'round' }),
    h('path', { d: 'm2 4 3 2-3 2zM2 10l3 2-3 2zM2 16l3 2-3 2z', fill: 'currentColor' }),
  )
}

/** Into the present tab while it shows nothing of one's own, into a new tab otherwise. */
function loadOperation(editor, operation, known) {
  if (!isUntouched(editor.queryEditor.getValue())) ReactDOM.flushSync(editor.addTab)

  const query = documents.get(operation.id)
  const variables = operation.variables ? JSON.stringify(operation.variables(known), null, 2) : ''
  const operationName = /^(?:query|mutation|subscription) (\w+)/m.exec(query)[1]

  editor.queryEditor.setValue(query)
  editor.variableEditor.setValue(variables)
  editor.responseEditor.setValue('')
  // The editor finds the name out itself, but only a moment later; running must not wait for that.
  editor.queryEditor.operationName = operationName
  editor.updateActiveTabValues({ query, variables, operationName, response: null })
  editor.queryEditor.focus()
}

function isUntouched(text) {
  return text.trim() === '' || text === emptyDocument || [...documents.values()].includes(text)
}
