// Random choices that a seed repeats. Timing is not repeated: a seed brings back the same plan, not the same race.

/** `seed` is any text. */
function randomFrom(seed) {
  let state = hashOf(seed)
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const between = (low, high) => low + next() * (high - low)
  const pick = (list) => list[Math.floor(next() * list.length)]
  return {
    between,
    pick,
    whole: (low, high) => Math.floor(between(low, high + 1)),
    chance: (probability) => next() < probability,
    /** One of the names, as often as its weight says: `{ name: weight }`. */
    weighted(weights) {
      const entries = Object.entries(weights)
      let left = next() * entries.reduce((sum, [, weight]) => sum + weight, 0)
      for (const [name, weight] of entries) {
        left -= weight
        if (left < 0) return name
      }
      return entries[0][0]
    }
  }
}

function hashOf(text) {
  let hash = 0x811c9dc5
  for (const character of String(text)) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193) >>> 0
  return hash
}

module.exports = { randomFrom, hashOf }
