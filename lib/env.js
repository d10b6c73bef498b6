'use strict'

// Settings for the addon: the options that were given, and the environment variables for those that were not. Only the
// addon looks at what they hold.

const { createError, describe, isObject } = require('./errors')

const VARIABLES = {
  REDIS_URL: 'url',
  REDIS_HOST: 'host',
  REDIS_PORT: 'port',
  REDIS_USERNAME: 'username',
  REDIS_PASSWORD: 'password',
  REDIS_DB: 'db',
  REDIS_TLS: 'tls',
  SESSION_TIMEOUT: 'SESSION_TIMEOUT'
}

const GROUPS = ['cache', 'tls']

/** Options with a value first, then variables with text. */
function collectSettings(options, env) {
  const given = Object.entries(options).filter(([, value]) => value !== undefined && value !== null)
  const variables = Object.entries(VARIABLES).filter(([variable]) => env[variable])
  return [
    ...given.flatMap(([name, value]) => fromOption(name, value)),
    ...variables.map(([variable, name]) => ({ name, variable, value: env[variable] }))
  ]
}

function fromOption(name, value) {
  if (isInternal(name)) {
    throw createError(
      'ERR_INVALID_OPTION',
      `The option \`${name}\` is unknown. Expected one of the options that the README lists: is it misspelt?`
    )
  }
  if (GROUPS.includes(name) && isObject(value)) {
    const members = Object.entries(value).filter(([, member]) => member !== undefined)
    const settings = members.map(([member, inner]) => setting(`${name}.${member}`, inner))
    // TLS material asks for TLS.
    return name === 'tls' ? [setting('tls', true), ...settings] : settings
  }
  return [setting(name, value)]
}

function setting(name, value) {
  if (['boolean', 'number', 'string'].includes(typeof value)) return { name, value }
  return { name, other: describe(value) }
}

// Names that settings have on their way to the addon, which would take them for the real thing.
function isInternal(name) {
  return Object.hasOwn(VARIABLES, name) || name.includes('.')
}

module.exports = { collectSettings }
