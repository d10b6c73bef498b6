// The rules of P2 and P3 once more, as simply as they can be said: on objects, one call after the other, one session.

/** What `later` and `stored` made of `base`, merged. */
function merge(base, later, stored) {
  const merged = mergeObjects(base, later, stored)
  if (later.cookie) merged.cookie = later.cookie
  return merged
}

function mergeObjects(base, later, stored) {
  const merged = {}
  for (const key of new Set([...Object.keys(later), ...Object.keys(stored)])) {
    const value = mergeValues(base[key], later[key], stored[key])
    if (value !== undefined) merged[key] = value
  }
  return merged
}

function mergeValues(was, mine, theirs) {
  if (isSame(mine, was)) return theirs
  if (isSame(theirs, was)) return mine
  if (isObject(mine) && isObject(theirs)) return mergeObjects(isObject(was) ? was : {}, mine, theirs)
  return mine
}

/** One session and those who hold it. `stored` is null when there is none. */
class Model {
  /** What each holder's object was last in step with. */
  #bases = new Map()

  constructor(stored, concurrency) {
    this.stored = stored
    this.concurrency = concurrency
  }

  load(holder, data) {
    this.#bases.set(holder, data)
  }

  /** Says whether it is refused. */
  save(holder, data) {
    if (this.stored === null) return true
    this.stored = this.concurrency === 'merge' ? merge(this.#bases.get(holder), data, this.stored) : data
    this.#bases.set(holder, data)
    return false
  }

  /** An object that was not loaded is written as it is. */
  overwrite(data) {
    this.stored = data
  }

  destroy() {
    this.stored = null
  }

  copy() {
    const copy = new Model(this.stored, this.concurrency)
    copy.#bases = new Map(this.#bases)
    return copy
  }
}

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Whatever the order of the keys. */
function isSame(one, other) {
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((value, at) => isSame(value, other[at]))
  }
  if (!isObject(one) || !isObject(other)) return one === other
  const keys = Object.keys(one)
  return keys.length === Object.keys(other).length && keys.every((key) => key in other && isSame(one[key], other[key]))
}

module.exports = { isSame, Model }
