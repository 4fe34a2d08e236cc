// What a frontend does: a signed-in user inserts a job with supabase-js and watches it complete through Realtime.
// Arguments: url, publishable key, user's access token, prompt. Prints one JSON line.
import { createClient } from '@supabase/supabase-js'
import ws from 'ws'

const [url, key, token, prompt] = process.argv.slice(2)
const table = 'workflow_generation_jobs'
const supabase = createClient(url, key, { accessToken: async () => token, realtime: { transport: ws } })
await supabase.realtime.setAuth()

const seen = { statuses: [], progress: [] }
let jobId
const finished = new Promise((resolve, reject) => {
  const timer = setTimeout(() => reject(new Error(`no end: ${JSON.stringify(seen)}`)), 60_000)
  supabase
    .channel('my-jobs')
    .on('postgres_changes', { event: 'UPDATE', schema: 'public', table }, ({ new: row }) => {
      if (row.id !== jobId) return
      seen.statuses.push(row.status)
      seen.progress.push(row.progress_percentage)
      if (['completed', 'failed', 'cancelled'].includes(row.status)) {
        clearTimeout(timer)
        resolve(row)
      }
    })
    .on('system', {}, async ({ status, message }) => {
      if (jobId || status !== 'ok') return
      jobId = 'claimed-below'
      const { data, error } = await supabase.from(table).insert({ prompt }).select('id').single()
      if (error) reject(new Error(`${message}: ${JSON.stringify(error)}`))
      else jobId = data.id
    })
    .subscribe((state, error) => error && reject(error))
})

const row = await finished
const { data: mine } = await supabase.from(table).select('id')
const { error: forged } = await supabase.from(table).insert({ prompt, status: 'completed' })
console.log(JSON.stringify({ ...seen, id: row.id, nodes: row.workflow_result?.nodes?.length, mine: mine.length, forged: forged?.code }))
await supabase.removeAllChannels()
process.exit(0)
