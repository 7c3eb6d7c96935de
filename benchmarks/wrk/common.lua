-- What all scripts share: values that differ from request to request, tokens, and one line of JSON at the end.
local common = {}

math.randomseed(os.time())
local random, format = math.random, string.format

-- 32 hexadecimal digits, as request ids and trace ids have; cheap, since the generator must not be the bottleneck.
function common.hex32()
    return format("%08x%08x%08x%08x", random(0, 0x7fffffff), random(0, 0x7fffffff), random(0, 0x7fffffff),
        random(0, 0x7fffffff))
end

-- The tokens of the file BENCH_TOKENS, one a line.
function common.tokens()
    local tokens = {}
    for line in io.lines(os.getenv("BENCH_TOKENS")) do
        tokens[#tokens + 1] = line
    end
    return tokens
end

local words = { "orders", "profile", "address", "invoices", "sessions", "devices", "notes", "teams" }

function common.path(prefix)
    return format("%s/%d/%s?page=%d&q=%x", prefix, random(1, 1000000), words[random(1, 8)], random(1, 99),
        random(0, 0x7fffffff))
end

-- What a client with this token asks for.
function common.authorized(token)
    return "GET " .. common.path("/api/users") .. " HTTP/1.1\r\nHost: bench.test\r\nAccept: application/json\r\n"
        .. "User-Agent: bench/1.0\r\nAuthorization: Bearer " .. token .. "\r\nX-Debug: 1\r\nX-Trace: "
        .. common.hex32() .. "\r\n\r\n"
end

function common.done(summary, latency)
    io.write(format(
        'BENCH {"requests":%d,"seconds":%.6f,"octets":%d,"statuses":%d,"failures":%d,"p50":%.1f,"p99":%.1f}\n',
        summary.requests, summary.duration / 1e6, summary.bytes, summary.errors.status,
        summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
        latency:percentile(50), latency:percentile(99)))
end

return common
