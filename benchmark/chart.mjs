// The picture of the figures for the README: three charts side by side, as SVG.

import * as echarts from 'echarts'

const SIZE = { width: 960, height: 300 }
const COLOURS = { 'connect-redis': '#9aa5b1', 'meetabl-session': '#d9480f' }

/** `figures` are those that the parts publish. */
export function drawChart({ store, distance, commands }) {
  const far = Math.max(...distance.map(({ roundTrip }) => roundTrip))
  const panels = [
    { title: 'Event loop, µs per operation', bars: store.filter(({ name }) => name !== 'get, no such session') },
    {
      title: `Added ms, Redis ${far} ms away`,
      bars: distance.filter(({ roundTrip }) => roundTrip === far).map((bar) => ({ ...bar, name: bar.kind }))
    },
    { title: 'Redis commands per request', bars: [{ name: 'unmodified', ...commands }] }
  ]
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, ...SIZE })
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    textStyle: { fontFamily: 'Helvetica, Arial, sans-serif' },
    legend: { bottom: 8, itemGap: 30 },
    ...combine(panels)
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return svg
}

function combine(panels) {
  const width = 100 / panels.length
  const left = (n) => `${n * width + 2}%`
  return {
    title: panels.map(({ title }, n) => ({ text: title, left: left(n), top: 10, textStyle: { fontSize: 14 } })),
    grid: panels.map((_, n) => ({
      left: left(n),
      width: `${width - 5}%`,
      top: 44,
      bottom: 48,
      outerBoundsMode: 'same',
      outerBoundsContain: 'axisLabel'
    })),
    xAxis: panels.map((_, n) => ({ type: 'value', gridIndex: n, show: false })),
    yAxis: panels.map(({ bars }, n) => ({
      type: 'category',
      gridIndex: n,
      inverse: true,
      data: bars.map(({ name }) => name),
      axisTick: { show: false },
      axisLine: { show: false }
    })),
    series: panels.flatMap(({ bars }, n) => [
      series(
        'connect-redis',
        n,
        bars.map(({ theirs }) => theirs)
      ),
      series(
        'meetabl-session',
        n,
        bars.map(({ ours }) => ours)
      )
    ])
  }
}

function series(name, panel, values) {
  return {
    type: 'bar',
    name,
    xAxisIndex: panel,
    yAxisIndex: panel,
    // A difference of medians may come out just below nothing.
    data: values.map((value) => Math.max(0, value)),
    barMaxWidth: 22,
    itemStyle: { color: COLOURS[name] },
    label: { show: true, position: 'right', formatter: ({ value }) => label(value) }
  }
}

function label(value) {
  return value < 0.995 ? value.toFixed(2) : value.toFixed(1)
}
