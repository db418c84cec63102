/** Schemes whose pages come from a host; browsers write their origins in one way only. */
const WEB = /^https?:/i

/** Schemes whose pages have no origin (`Origin: null`), or that pages do not come by. */
const NO_PAGES = /^(file|data|blob|javascript|about|ws|wss|ftp|mailto|view-source):/i

/**
 * Finds out why a browser never sends this text as its `Origin`, so that a setting that would allow no page is refused.
 *
 * @returns What is wrong, to follow the text; `null` for an origin as browsers send it.
 * @see {@link https://www.rfc-editor.org/rfc/rfc6454#section-6.2 RFC 6454 §6.2}
 */
export function findOriginFault(text: string): string | null {
  if (text === '*') return 'allows every page, which is not possible with credentials'
  if (text.toLowerCase() === 'null') return 'is the origin of every page that hides its own'
  if (text.includes('*')) return 'has a wildcard; name each origin'
  if (NO_PAGES.test(text)) return 'is of a scheme that no page has an origin of'
  return WEB.test(text) ? findWebFault(text) : findOtherFault(text)
}

function findWebFault(text: string): string | null {
  const sent = URL.canParse(text) ? new URL(text).origin : null
  if (sent === null || !/^https?:\/\/([a-z0-9._-]+|\[[0-9a-f:]+\])(:\d+)?$/.test(sent)) {
    return 'is no origin'
  }
  return sent === text ? null : `is sent as ${sent}`
}

/** Of apps and extensions: `capacitor://localhost`, `chrome-extension://…`. */
function findOtherFault(text: string): string | null {
  const isOrigin = /^[a-z][a-z0-9+.-]*:\/\/[a-z0-9._-]+(:\d+)?$/.test(text)
  return isOrigin ? null : 'is no origin'
}
