// P2 and P3 against a model: what several holders on two stores do to one session, at random, must leave in Redis what
// the rules say. Set MODEL_SEED to the seed of a failure to see it again, and MODEL_SEQUENCES to try more of them.
const { newId, sessionWith, stored } = require('../sessions')
const { untilSeen, useStores } = require('../stores')
const { loaded } = require('./loaded')
const { isSame, Model } = require('./rules')

const SEED = Number(process.env.MODEL_SEED ?? Math.floor(Math.random() * 2 ** 31))
const SEQUENCES = Number(process.env.MODEL_SEQUENCES ?? 2000)
const AT_A_TIME = 50
const STEPS = 12
const MOST_TOGETHER = 3

module.exports = () => {
  const stores = useStores()
  let prefixes = 0

  describe.each([
    ['merge', {}],
    ['last-write', { concurrency: 'last-write' }]
  ])('concurrency: %s', (concurrency, options) => {
    test(`P2 P3 ${SEQUENCES} random sequences do what the rules say`, async () => {
      const prefix = `model ${++prefixes}:`
      const pair = Array.from('ab', () => stores.storeWith({ prefix, commandTimeoutMs: 10_000, ...options }))
      const refused = { least: 0, most: 0 }
      for (let first = 0; first < SEQUENCES; first += AT_A_TIME) {
        const seeds = Array.from({ length: Math.min(AT_A_TIME, SEQUENCES - first) }, (_, n) => SEED + first + n)
        const plays = seeds.map((seed) => new Play(stores, pair, seed, concurrency))
        // All of them end before one fails.
        const outcomes = await Promise.allSettled(plays.map((play) => play.run()))
        const failure = outcomes.find(({ status }) => status === 'rejected')
        if (failure) throw failure.reason
        for (const { least, most } of plays) {
          refused.least += least
          refused.most += most
        }
      }
      const counted = pair[0].stats().refused + pair[1].stats().refused
      expect(counted).toBeGreaterThanOrEqual(refused.least)
      expect(counted).toBeLessThanOrEqual(refused.most)
    })
  })
}

/** One sequence on one session. */
class Play {
  #stores
  #pair
  #again
  #random
  #id = newId()
  #model
  #past = []
  #holders = []
  #history = []

  constructor(stores, pair, seed, concurrency) {
    this.#stores = stores
    this.#pair = pair
    this.#again = `MODEL_SEED=${seed} MODEL_SEQUENCES=1`
    this.#random = randomFrom(seed)
    this.#model = new Model(null, concurrency)
    /** How many saves had to be refused: where a save and a destroy are made together, it may be either. */
    this.least = 0
    this.most = 0
  }

  async run() {
    const session = sessionWith(someData(this.#random), 3_600_000)
    this.#model.overwrite(stored(session))
    this.#past.push(this.#model.stored)
    this.#note('first', this.#model.stored)
    await this.#pick(this.#pair).set(this.#id, session)
    for (let n = 0; n < 2; n++) await this.#load()
    for (let step = 0; step < STEPS; step++) {
      const chance = this.#random(10)
      if (chance < 2) await this.#load()
      else if (chance < 3) await this.#overwrite()
      else await this.#together(1 + this.#random(MOST_TOGETHER))
    }
    const isCurrent = async (store) =>
      isSame(withoutCookie(await store.get(this.#id)), withoutCookie(this.#model.stored))
    await Promise.all(this.#pair.map((store) => untilSeen(() => isCurrent(store), `${this.#again}: what is stored`)))
  }

  async #load() {
    const store = this.#pick(this.#pair)
    const session = await loaded(store, this.#id)
    // A copy in the process may be old for a moment, and its cookie shows the live expiry.
    this.#check(withoutCookie(session && stored(session)), this.#past, 'what was loaded', withoutCookie)
    if (session === null) return
    const holder = { store, session, name: this.#holders.length }
    this.#note('load', holder.name)
    this.#model.load(holder.name, stored(session))
    this.#holders.push(holder)
  }

  // Only a session that lives: a plain write may make one anew.
  async #overwrite() {
    if (this.#model.stored === null) return
    const session = sessionWith(someData(this.#random), 3_600_000)
    this.#note('overwrite', stored(session))
    await this.#pick(this.#pair).set(this.#id, session)
    const model = this.#model.copy()
    model.overwrite(stored(session))
    await this.#checkStored([model])
  }

  /** Some calls at the same time: what is stored afterwards must be what one of their orders leaves. */
  async #together(count) {
    const holders = new Set(Array.from({ length: count }, () => this.#pick(this.#holders)))
    const calls = Array.from(holders, (holder) => this.#callOf(holder))
    this.#note('together', ...calls.map(({ note }) => note))
    await Promise.all(calls.map(({ make }) => make()))
    const outcomes = ordersOf(calls).map((order) => {
      const model = this.#model.copy()
      model.refused = 0
      // What was stored between the calls, which a store may have read.
      model.between = []
      for (const { expect } of order) {
        model.between.push(model.stored)
        if (expect(model)) model.refused++
      }
      return model
    })
    const possible = await this.#checkStored(outcomes)
    this.#past.push(...possible.flatMap((model) => model.between))
    const refused = possible.map((model) => model.refused)
    this.least += Math.min(...refused)
    this.most += Math.max(...refused)
  }

  /** `make` makes the call, `expect` does to a model what it should do, and says whether it is refused. */
  #callOf({ session, store, name }) {
    const chance = this.#random(20)
    if (chance === 0) {
      return { note: 'destroy', make: () => store.destroy(this.#id), expect: (model) => model.destroy() }
    }
    if (chance < 4) {
      session.touch()
      return { note: 'touch', make: () => store.touch(this.#id, session), expect: () => false }
    }
    const changes = Array.from({ length: this.#random(4) }, () => change(session, this.#random))
    const data = stored(session)
    return {
      note: ['save', name, ...changes],
      make: () => store.set(this.#id, session),
      expect: (model) => model.save(name, data)
    }
  }

  /** What is stored must be what one of the models says, and that one is right from now on. Gives all that are. */
  async #checkStored(models) {
    const text = await this.#stores.redis.command('GET', this.#stores.keyOf(this.#pair[0], this.#id))
    const possible = this.#check(JSON.parse(text ?? 'null'), models, 'what is stored', (model) => model.stored)
    this.#model = possible[0]
    this.#past.push(this.#model.stored)
    return possible
  }

  /** Those that agree with what was found: at least one, or the sequence is a failure. */
  #check(found, candidates, what, expected) {
    const agreeing = candidates.filter((candidate) => isSame(found, expected(candidate)))
    if (agreeing.length > 0) return agreeing
    const [shown, history] = [found, this.#history].map((value) => JSON.stringify(value))
    const wanted = [...new Set(candidates.map((candidate) => JSON.stringify(expected(candidate))))].join(' or ')
    throw new Error(`${this.#again}: ${what} is\n${shown}. Expected\n${wanted}, after\n${history}`)
  }

  #pick(list) {
    return list[this.#random(list.length)]
  }

  #note(...what) {
    this.#history.push(what)
  }
}

// Few keys and values, so that holders meet. Some keys look like numbers, which JavaScript puts in an order of its own.
const KEYS = ['a', 'b', '7', '3']
const VALUES = [
  () => 0,
  () => 1,
  () => 'é\u2028"',
  () => null,
  () => [1, { a: 1 }],
  () => [],
  (random) => someData(random),
  (random) => someData(random)
]

function withoutCookie(session) {
  return session && { ...session, cookie: undefined }
}

function ordersOf(list) {
  if (list.length < 2) return [list]
  return list.flatMap((one, at) => ordersOf(list.toSpliced(at, 1)).map((rest) => [one, ...rest]))
}

function someData(random) {
  const data = {}
  for (let n = random(4); n > 0; n--) data[KEYS[random(KEYS.length)]] = VALUES[random(VALUES.length)](random)
  return data
}

/** Changes something, somewhere in the session. */
function change(session, random) {
  let parent = session
  const path = []
  for (;;) {
    const key = KEYS[random(KEYS.length)]
    path.push(key)
    const value = parent[key]
    if (random(3) > 0 && typeof value === 'object' && value !== null && !Array.isArray(value)) {
      parent = value
      continue
    }
    const action = random(3)
    if (action === 0) delete parent[key]
    else if (Array.isArray(value)) value.push(random(9))
    else parent[key] = VALUES[random(VALUES.length)](random)
    return [path.join('.'), parent[key]]
  }
}

/** Whole numbers below `limit`, always the same ones for a seed (a linear congruential generator). */
function randomFrom(seed) {
  let state = BigInt(seed)
  return (limit) => {
    state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffffffffffffffffn
    return Number((state >> 33n) % BigInt(limit))
  }
}
