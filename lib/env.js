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

// ----- What `meetablSession()` and `csrfProtection()` read -----

/** The secrets to sign and verify with, as `[{ name, value }]`: the option's, else the environment's. */
function collectSecrets(option, env) {
  if (option !== undefined) return nameSecrets('secret', option)
  if (!env.SESSION_SECRET) {
    throw createError(
      'ERR_INVALID_OPTION',
      'SESSION_SECRET is not set, and neither is the option `secret`. Expected at least 32 random characters, the same ' +
        'for every process of this API: `openssl rand -base64 32` makes them.'
    )
  }
  const previous = (env.SESSION_SECRET_PREVIOUS ?? '').split(/\s+/).filter(Boolean)
  return [
    { name: 'SESSION_SECRET', value: env.SESSION_SECRET },
    ...previous.map((value) => ({ name: 'SESSION_SECRET_PREVIOUS', value }))
  ]
}

/** One secret or an array of them, each with the name that an error calls it by. */
function nameSecrets(name, secrets) {
  if (!Array.isArray(secrets)) return [{ name, value: secrets }]
  return secrets.map((value, at) => ({ name: `${name}[${at}]`, value }))
}

/** The idle lifetime in milliseconds, with the name that an error calls it by; undefined when nothing is said. */
function readTimeout(option, env) {
  if (option !== undefined) return { name: 'timeoutMs', value: option }
  const text = env.SESSION_TIMEOUT
  return text ? { name: 'SESSION_TIMEOUT', value: Number(text), text } : undefined
}

module.exports = { collectSecrets, collectSettings, nameSecrets, readTimeout }
