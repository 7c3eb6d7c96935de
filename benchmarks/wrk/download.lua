-- A file of 1 MiB.
local common = dofile(os.getenv("BENCH_WRK") .. "/common.lua")

function request()
    return "GET /files/1MiB.bin?v=" .. common.hex32() .. " HTTP/1.1\r\nHost: bench.test\r\n\r\n"
end

done = common.done
