// A judgement as text: what is wrong, and the part of the history that shows it.

const SHOWN = 40
const COUNTERS = ['hits', 'misses', 'invalidations', 'merged', 'refused', 'replayed', 'timeouts']

/** The lines for one violation: the operations on its session around it, with faults and events. */
function tell(violation, history) {
  const { promise, what, sid, worker, record, missed, times } = violation
  const title = `${promise}: ${what} (${worker ?? 'Redis'}${sid ? `, session ${sid}` : ''}; seen ${times} times)`
  const from = Math.min(beginning(missed ?? record), beginning(record)) - 100
  const until = ending(record)
  const around = history.filter((each) => ending(each) >= from && beginning(each) <= until && concerns(each, violation))
  around.sort((one, other) => beginning(one) - beginning(other))
  const zero = beginning(history[0])
  const mark = (each) => (each === record ? '>' : each === missed ? '+' : ' ')
  const lines = around.map((each) => `${mark(each)} ${line(each, zero)}`)
  const left = lines.length - SHOWN
  const shown = left > 0 ? [...lines.slice(0, SHOWN / 2), `  ... ${left} more ...`, ...lines.slice(-SHOWN / 2)] : lines
  return [title, ...shown.map((text) => `  ${text}`)].join('\n')
}

const beginning = (record) => record.start ?? record.at
const ending = (record) => record.end ?? record.at

function concerns(record, { sid, worker, missed }) {
  const { type } = record
  if (type === 'fault' || type === 'died') return true
  if (type === 'event') return [worker, missed?.worker].includes(record.worker) || worker === 'Redis'
  if (record.sid !== sid) return false
  // Of the many reads those by the process in question, and of the saves those to the slot.
  if (type === 'get' || type === 'touch') return record.worker === worker
  return type !== 'set' || !missed?.slot || record.slot === missed.slot || record.worker === worker
}

function line(record, zero) {
  const { type, start, end, at, worker, by, error, found, slot, value, name, workers, reason } = record
  const since = (time) => (time - zero).toFixed(1)
  const time = at === undefined ? `${since(start)} to ${since(end)}` : since(at)
  const detail = {
    get: () => show(found),
    stored: () => show(found),
    set: () => `${slot} = ${value}${record.creates ? ' (new session)' : ''}`,
    fault: () => `${name} (${workers.join(', ')})`,
    event: () => name,
    died: () => reason
  }
  return [time, worker, type, detail[type]?.(), by, error].filter(Boolean).join('  ')
}

function show(found) {
  return found === null ? 'nothing' : JSON.stringify(found)
}

/** What was done and seen in a run: without it, "no violations" says nothing. */
function summary({ violations, coverage }, history, stats) {
  const { reads, judged, stored, stalestMs } = coverage
  const faults = new Map()
  for (const { type, name } of history) if (type === 'fault') faults.set(name, (faults.get(name) ?? 0) + 1)
  const sum = (counter) => Object.values(stats).reduce((total, each) => total + (each[counter] ?? 0), 0)
  return [
    `${history.length} records; ${judged} of ${reads} reads judged by P4, ${stored} sessions looked at in Redis`,
    `a read was ${stalestMs.toFixed(0)} ms behind, at most`,
    `faults: ${[...faults].map(([name, times]) => `${name} ${times}`).join(', ') || 'none'}`,
    `stores: ${COUNTERS.map((counter) => `${counter} ${sum(counter)}`).join(', ')}`,
    `violations: ${violations.length}`
  ].join('\n')
}

module.exports = { tell, summary }
