-- A GET with a bearer token that was not sent before. BENCH_TOKENS: the file that they are read from.
local common = dofile(os.getenv("BENCH_WRK") .. "/common.lua")
local next_token

function init()
    next_token = io.lines(os.getenv("BENCH_TOKENS"))
end

function request()
    return common.authorized(next_token() or error("all tokens are sent: see FRESH in workloads.py"))
end

done = common.done
