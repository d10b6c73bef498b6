// `sign` and `unsign`, beside the npm package that they stand in for, and the ring of secrets.
const crypto = require('node:crypto')
const reference = require('cookie-signature')
const { sign, unsign } = require('..')
const { KeyRing, newSessionId, sessionLogName } = require('../lib/keys')

const VALUES = [
  '',
  'hello',
  'a.b.c',
  '.',
  'ünïcødé ☃ 🔑',
  'lone \ud800 surrogate',
  'line\nbreak\0null',
  'x'.repeat(5000)
]
const SECRETS = {
  text: 'tobiiscool',
  'text beyond ASCII': 'schlüssel 🔑',
  'text longer than a block of SHA-256': 'k'.repeat(200),
  Buffer: Buffer.from('00ff80c3289f', 'hex'),
  Uint8Array: new Uint8Array([0, 255, 128, 1]),
  DataView: new DataView(new ArrayBuffer(40), 4, 20),
  KeyObject: crypto.createSecretKey(Buffer.from('a key object'))
}
const LONG = ['the first secret of this test, long enough', 'the second secret of this test, long enough']

const ring = (...secrets) => new KeyRing(secrets.map((value, at) => ({ name: `secret[${at}]`, value })))
const open = (keys, value) => keys.open(`sid=${value}`, 'sid', true)

describe.each(Object.entries(SECRETS))('a secret that is %s', (_, secret) => {
  test('signs as cookie-signature does, and each accepts what the other signed', () => {
    for (const value of VALUES) {
      const signed = sign(value, secret)
      expect(signed).toBe(reference.sign(value, secret))
      expect(unsign(signed, secret)).toBe(value)
      expect(reference.unsign(signed, secret)).toBe(value)
    }
  })

  test('refuses what cookie-signature refuses', () => {
    const signed = sign('hello', secret)
    const wrong = ['', '.', 'hello', 'hello.', `${signed}=`, signed.slice(0, -1), `x${signed}`, sign('hello', 'other')]
    for (const input of [...wrong, signed.replaceAll('+', '-').replaceAll('/', '_').concat('_')]) {
      expect([input, unsign(input, secret)]).toEqual([input, false])
      expect(reference.unsign(input, secret)).toBe(false)
    }
  })
})

test('A5 7.2.1 every single bit flip of a signed value is refused', () => {
  const signed = sign('a-session-id', LONG[0])
  for (let bit = 0; bit < signed.length * 8; bit++) {
    const bytes = Buffer.from(signed, 'latin1')
    bytes[bit >> 3] ^= 1 << (bit & 7)
    expect(unsign(bytes.toString('latin1'), LONG[0])).toBe(false)
  }
})

test.each([undefined, null, '', Buffer.alloc(0), [], {}, 7])('a secret that is %p is a TypeError', (secret) => {
  for (const call of [() => sign('value', secret), () => unsign('value.signature', secret)]) {
    expect(call).toThrow(expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARGUMENT' }))
  }
})

test.each([undefined, null, 7, {}, ['a']])('a value that is %p is a TypeError', (value) => {
  for (const call of [() => sign(value, LONG[0]), () => unsign(value, LONG[0])]) {
    expect(call).toThrow(expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARGUMENT' }))
  }
})

describe('the ring of secrets', () => {
  const id = newSessionId()

  test('A5 11.2.2 the first signs, all verify, and it tells which did', () => {
    const [before, during, after] = [ring(LONG[1]), ring(...LONG), ring(LONG[0])]
    expect(open(during, before.seal(id))).toEqual({ id, key: 1 })
    expect(open(during, during.seal(id))).toBe(id)
    expect(open(after, during.seal(id))).toBe(id)
    expect(open(after, before.seal(id))).toBe(2)
  })

  test('A5 11.2.2 it rotates in use, and a removed secret is refused', () => {
    const keys = ring(LONG[1])
    const old = keys.seal(id)
    keys.rotate(LONG.map((value) => ({ name: 'secret', value })))
    expect(open(keys, old)).toEqual({ id, key: 1 })
    keys.rotate([{ name: 'secret', value: LONG[0] }])
    expect(open(keys, old)).toBe(2)
    expect(() => keys.rotate([{ name: 'secret', value: 'short' }])).toThrow(/`secret` is too short/)
    expect(open(keys, keys.seal(id))).toBe(id)
  })

  test('express-session signs the same, also with a Buffer', () => {
    for (const secret of [LONG[0], crypto.randomBytes(32)]) {
      expect(ring(secret).seal(id)).toBe(`s:${reference.sign(id, secret)}`)
    }
  })

  test.each([
    ['empty', ''],
    ['short', 'x'.repeat(31)],
    ['a short Buffer', Buffer.alloc(31)],
    ['null', null],
    ['a number', 7]
  ])('A5 11.2.3 a secret that is %s is refused by its name and not shown', (_, value) => {
    const make = () => new KeyRing([{ name: 'SESSION_SECRET', value }])
    expect(make).toThrow(expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_OPTION' }))
    expect(make).toThrow(/SESSION_SECRET/)
    expect(make).not.toThrow(/xxx/)
  })

  test('A5 11.2.3 a ring without secrets is refused', () => {
    expect(() => new KeyRing([])).toThrow(expect.objectContaining({ code: 'ERR_INVALID_OPTION' }))
  })

  test.each(['*', 'a-session-id\r\nDEL x', 'a-session-id-\0-null', '../../../../etc/passwd', '{tag}-session-id-1', ''])(
    'SM the id %j, validly signed, is not taken',
    (bad) => {
      const keys = ring(LONG[0])
      expect(open(keys, encodeURIComponent(keys.seal(bad)))).toBe(3)
    }
  )

  test('CVE-2020-8166 a cookie signature is no CSRF token, nor the reverse', () => {
    const keys = ring(LONG[0])
    const [random, mac] = keys.csrfToken(id).split('.')
    const signature = Buffer.from(sign(id, LONG[0]).split('.')[1], 'base64').toString('base64url')
    expect(keys.verifyCsrf(id, `${random}.${mac}`)).toBe(true)
    expect(keys.verifyCsrf(id, `${random}.${signature}`)).toBe(false)
    expect(open(keys, `s:${id}.${Buffer.from(mac, 'base64url').toString('base64').replace('=', '')}`)).toBe(2)
  })
})

test('A5 7.2.3 ids have 256 bits of the system', () => {
  const ids = new Set(Array.from({ length: 10_000 }, newSessionId))
  expect(ids.size).toBe(10_000)
  for (const id of ids) expect(Buffer.from(id, 'base64url')).toHaveLength(32)
})

test('A5 16.2 a session has the same name in every log line, and the name is not its id', () => {
  const id = newSessionId()
  expect(sessionLogName(id)).toBe(sessionLogName(id))
  expect(sessionLogName(id)).toMatch(/^[0-9a-f]{12}$/)
  expect(sessionLogName(newSessionId())).not.toBe(sessionLogName(id))
})
