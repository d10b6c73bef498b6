'use strict'

// Where log lines go. Each is one string, so that console, pino and winston all take it.

const { createError } = require('./errors')

const LEVELS = ['debug', 'info', 'warn', 'error']

const silent = () => {}

/** The function that takes `(level, line)`. The console gets no debug lines; a logger filters for itself. */
function createLog(logger) {
  if (logger === false) return silent
  if (logger === undefined || logger === null) {
    return (level, line) => level !== 'debug' && console[level](line)
  }
  const missing = LEVELS.find((level) => typeof logger[level] !== 'function')
  if (missing !== undefined) {
    throw createError(
      'ERR_INVALID_OPTION',
      `The option \`logger\` has no method \`${missing}\`. Expected debug, info, warn and error, as console, pino and ` +
        'winston have, or `false` for silence.'
    )
  }
  return (level, line) => logger[level](line)
}

module.exports = { createLog }
