-- What all scripts share: values that differ from request to request, tokens, and one line of JSON at the end.
local common = {}

math.randomseed(os.time())
local random, format = math.random, string.format

-- 32 hexadecimal digits, as request ids and trace ids have; cheap, since the generator must not be the bottleneck.
function common.hex32()
    return format("%08x%08x%08x%08x", random(0, 0x7fffffff), random(0, 0x7fffffff), random(0, 0x7fffffff),
        random(0, 0x7fffffff))
end

-- One token a line: the first `count` of the file, or all of them. BENCH_ALGORITHM: hs256 or rs256.
function common.tokens(count)
    local tokens = {}
    local algorithm = os.getenv("BENCH_ALGORITHM") or "hs256"
    for line in io.lines(assert(os.getenv("BENCH_DIR")) .. "/" .. algorithm .. ".txt") do
        tokens[#tokens + 1] = line
        if #tokens == count then
            break
        end
    end
    return tokens
end

local words = { "orders", "profile", "address", "invoices", "sessions", "devices", "notes", "teams" }

function common.path(prefix)
    return format("%s/%d/%s?page=%d&q=%x", prefix, random(1, 1000000), words[random(1, 8)], random(1, 99),
        random(0, 0x7fffffff))
end

function common.done(summary, latency)
    io.write(format(
        'BENCH {"requests":%d,"seconds":%.6f,"octets":%d,"statuses":%d,"failures":%d,"p50":%.1f,"p99":%.1f}\n',
        summary.requests, summary.duration / 1e6, summary.bytes, summary.errors.status,
        summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
        latency:percentile(50), latency:percentile(99)))
end

return common
