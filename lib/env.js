'use strict'

// Settings for the addon: the options that were given, and the environment variables for those that were not. Only the
// addon looks at what they hold.

const { describe } = require('./errors')

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

const GROUPS = { cache: ['maxBytes'], tls: ['ca', 'cert', 'key'] }

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
  if (Array.isArray(GROUPS[name]) && isPlainObject(value)) {
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

function isPlainObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

module.exports = { collectSettings, isPlainObject }
