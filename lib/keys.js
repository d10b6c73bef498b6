'use strict'

// Signatures and keys, from the addon. `sign` and `unsign` are those of cookie-signature.

const { KeyObject } = require('node:crypto')

const native = require('../binding')
const { createError, describe, fromNative } = require('./errors')

/** `value`, a dot and its signature. */
function sign(value, secret) {
  return `${checkText(value, 'value')}.${native.sign(value, checkSecret(secret))}`
}

/** The value that was signed; false when this secret did not sign it. */
function unsign(input, secret) {
  const at = checkText(input, 'signed value').lastIndexOf('.')
  const key = checkSecret(secret)
  if (at < 0) return false
  const value = input.slice(0, at)
  return native.verify(value, input.slice(at + 1), key) ? value : false
}

function checkText(value, what) {
  if (typeof value === 'string') return value
  throw createError('ERR_INVALID_ARGUMENT', `The ${what} is ${describe(value)}. Expected a string.`)
}

function checkSecret(secret) {
  const bytes = toBytes(secret)
  if (bytes?.length > 0) return bytes
  const found = bytes === null ? describe(secret) : 'empty'
  throw createError(
    'ERR_INVALID_ARGUMENT',
    `The secret is ${found}. Expected a string, a Buffer or a secret KeyObject.`
  )
}

// A string stays one: the addon takes it as it is. Null for what is no secret.
function toBytes(secret) {
  if (typeof secret === 'string') return secret
  if (ArrayBuffer.isView(secret)) return new Uint8Array(secret.buffer, secret.byteOffset, secret.byteLength)
  if (secret instanceof KeyObject && secret.type === 'secret') return secret.export()
  return null
}

/**
 * Secrets as `[{ name, value }]`: `name` is what an error calls one. The first signs, all verify.
 */
class KeyRing {
  // Wipes the secrets when it goes. The number is what the addon calls it.
  #native
  #number
  #secrets

  constructor(secrets) {
    this.#secrets = secrets.map(checkNamed)
    this.#native = called(() => new native.NativeKeyRing(this.#secrets))
    this.#number = this.#native.number
  }

  /** The secrets themselves: express-session signs too. */
  get secrets() {
    return this.#secrets.map(({ value }) => value)
  }

  rotate(secrets) {
    const checked = secrets.map(checkNamed)
    called(() => this.#native.rotate(checked))
    this.#secrets = checked
  }

  /** See the addon's `openCookie`. */
  open(header, name, plainIds) {
    return native.openCookie(this.#number, header, name, plainIds)
  }

  /** A cookie's value for this id, not percent-encoded yet. */
  seal(id) {
    return native.sealCookie(this.#number, id)
  }

  csrfToken(id) {
    return called(() => native.csrfToken(this.#number, id))
  }

  verifyCsrf(id, token) {
    return native.verifyCsrf(this.#number, id, token)
  }
}

function checkNamed({ name, value }) {
  const bytes = toBytes(value)
  if (bytes !== null) return { name, value: bytes }
  throw createError('ERR_INVALID_OPTION', `\`${name}\` is ${describe(value)}. Expected a string or a Buffer.`)
}

/** An id of 256 random bits. */
function newSessionId() {
  return called(() => native.newSessionId())
}

/** What a log may call this session: nobody can find the id with it. */
function sessionLogName(id) {
  return called(() => native.sessionLogName(id))
}

function called(call) {
  try {
    return call()
  } catch (error) {
    throw fromNative(error)
  }
}

module.exports = { KeyRing, newSessionId, sessionLogName, sign, unsign }
