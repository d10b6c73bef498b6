// A logger that remembers, for tests about what is logged: `lines` of `{ level, message }` in order.
function rememberingLogger() {
  const lines = []
  const log = (level) => (message) => lines.push({ level, message })
  return {
    lines,
    debug: log('debug'),
    info: log('info'),
    warn: log('warn'),
    error: log('error'),
    /** The messages of one level. */
    of: (level) => lines.filter((line) => line.level === level).map((line) => line.message),
    /** Everything in one text, to search for what must not be there. */
    text: () => lines.map((line) => String(line.message)).join('\n')
  }
}

module.exports = { rememberingLogger }
