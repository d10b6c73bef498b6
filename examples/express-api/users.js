'use strict'

// The accounts, in this process's memory: they are gone when it ends. A real API keeps them in its database.

const { randomBytes, scrypt, timingSafeEqual } = require('node:crypto')
const { promisify } = require('node:util')

const derive = promisify(scrypt)

// One of the settings that OWASP's Password Storage Cheat Sheet gives for scrypt: 16 MiB and some 0.2 s a password.
const COST = { N: 2 ** 14, r: 8, p: 5 }
const HASH_BYTES = 32

// What an unknown user's password is compared with, so that the time taken does not tell who has an account.
const NOBODY = { salt: randomBytes(16), hash: randomBytes(HASH_BYTES) }

function createUsers() {
  const users = new Map()

  return {
    /** False when the name is taken. */
    async register(username, password) {
      const salt = randomBytes(16)
      const hash = await derive(password, salt, HASH_BYTES, COST)
      // Asked only now: two requests for one name may both have been hashing.
      if (users.has(username)) return false
      users.set(username, { salt, hash })
      return true
    },

    /** False for a wrong password and for an unknown user alike. */
    async verify(username, password) {
      const { salt, hash } = users.get(username) ?? NOBODY
      return timingSafeEqual(await derive(password, salt, HASH_BYTES, COST), hash)
    }
  }
}

module.exports = { createUsers }
