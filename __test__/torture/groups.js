/** Records by what `keyOf` says of each, in their order. */
function groupBy(records, keyOf) {
  const groups = new Map()
  for (const record of records) {
    const key = keyOf(record)
    if (!groups.has(key)) groups.set(key, [])
    groups.get(key).push(record)
  }
  return groups
}

module.exports = { groupBy }
