// The scene, played by node-postgres. COPY needs another package there, so its line is made by SQL.
const { Client } = require('pg')

async function code(promise) {
  try {
    await promise
    return 'none'
  } catch (e) {
    return e.code
  }
}

async function main(url, name) {
  const c = new Client({ connectionString: url })
  await c.connect()
  let notice
  c.on('notice', (n) => { notice = notice || n.message })
  const one = async (text, values) => Object.values((await c.query({ text, values, rowMode: 'array' })).rows[0])

  console.log('query', ...(await one("SELECT 42, 'héllo'")))
  console.log('parameters', ...(await one('SELECT $1::int, $2::text, $3::text', [7, 'héllo', null])).map((v) => v ?? 'NULL'))
  const many = (await c.query('SELECT i FROM generate_series(1, $1::int) i', [10000])).rows
  console.log('many rows', many.length, many.reduce((sum, r) => sum + r.i, 0))

  await c.query('CREATE TEMP TABLE scratch (id int)')
  await c.query('BEGIN')
  await c.query({ name: 'insert', text: 'INSERT INTO scratch VALUES ($1)', values: [1] })
  await c.query({ name: 'insert', text: 'INSERT INTO scratch VALUES ($1)', values: [2] })
  const [inside] = await one('SELECT count(*)::int FROM scratch')
  await c.query('ROLLBACK')
  console.log('transaction', inside, ...(await one('SELECT count(*)::int FROM scratch')))

  console.log('error', await code(c.query('SELECT 1 / $1::int', [0])))
  await c.query('BEGIN')
  await code(c.query('SELECT nonsense'))
  console.log('aborted', await code(c.query('SELECT 1')), await code(c.query('SHOW JOBS')))
  await c.query('ROLLBACK')

  await c.query('INSERT INTO scratch VALUES (1), (2), (3)')
  console.log('copy', ...(await one('SELECT count(*)::int, sum(id)::int FROM scratch')))
  await c.query("DO $$BEGIN RAISE NOTICE 'hello'; END$$")
  console.log('notice', notice)

  const flushed = (await c.query(`FLUSH TABLE app.${name}_rows WITH (wait = true)`)).rows[0]
  console.log('flush', flushed.status, (await c.query(`SELECT rows_flushed FROM system.jobs WHERE job_id = $1`, [flushed.job_id])).rows[0].rows_flushed)
  console.log('jobs', ...(await one('SELECT status, rows_flushed FROM system.jobs WHERE job_id = $1', [flushed.job_id])))
  const shown = (await c.query('SHOW JOB $1', [flushed.job_id])).rows[0]
  console.log('shown', shown.status, shown.rows_flushed)
  console.log('syntax', await code(c.query('FLUSH TABLES')))
  console.log('unknown', await code(c.query({ name: 'kill', text: 'KILL JOB $1', values: ['flush:app.x:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f'] })))
  console.log('finished', await code(c.query({ name: 'kill', text: 'KILL JOB $1', values: [flushed.job_id] })))

  const job = (await c.query(`FLUSH TABLE app.${name}_held`)).rows[0].job_id
  console.log('kill', (await c.query({ name: 'kill', text: 'KILL JOB $1', values: [job] })).rows[0].status)
  let status = 'cancelling'
  while (status === 'cancelling') {
    [status] = await one('SELECT status FROM system.jobs WHERE job_id = $1', [job])
    await c.query('SELECT pg_sleep(0.02)')
  }
  console.log('killed', status)
  await c.end()
  console.log('done')
}

main(process.argv[2], process.argv[3]).catch((e) => { console.error(e); process.exit(1) })
