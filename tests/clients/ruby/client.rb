# The cases of table.py with Ruby's net/http: one array of facts for each, as JSON.
require "json"
require "net/http"
require "stringio"

BASE = URI(ENV.fetch("ARGOSY_URL"))
SCAN, LARGE = ENV.fetch("SCAN"), ENV.fetch("LARGE")
NAME = "Schein für März.pdf"
HTTP = Net::HTTP.new(BASE.host, BASE.port)
HTTP.keep_alive_timeout = 60 # it keeps an idle connection for 2 s otherwise
HTTP.start

def fitted(request, fields)
  request["Authorization"] = "Bearer #{ENV.fetch("ARGOSY_KEY")}"
  fields.each { |name, value| request[name] = value }
  request
end

def get(path, fields = {}, &block)
  HTTP.request(fitted(Net::HTTP::Get.new(URI.join(BASE, path)), fields), &block)
end

def submitted(path = SCAN, fields = {})
  request = fitted(Net::HTTP::Post.new("/v1/ocr"), fields)
  File.open(path, "rb") do |file|
    request.set_form([["file", file, { filename: NAME }]], "multipart/form-data")
    HTTP.request(request)
  end
end

def ended(location)
  loop do
    job = JSON.parse(get(location).body)
    return job if job["finished_at"]
    sleep 0.2
  end
end

def chunked
  request = fitted(Net::HTTP::Post.new("/v1/ocr"), "Content-Type" => "multipart/form-data; boundary=b",
                                                   "Transfer-Encoding" => "chunked")
  head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"scan.pdf\"\r\n\r\n"
  request.body_stream = StringIO.new(head.b + File.binread(SCAN) + "\r\n--b--\r\n")
  HTTP.request(request).code.to_i
end

# A connection of its own, because leaving in the middle of an answer ends it.
def events(job, last, most = 1000)
  seen, unread, status = [], +"", 0
  request = fitted(Net::HTTP::Get.new("/v1/jobs/#{job}/events"), last.empty? ? {} : { "Last-Event-ID" => last })
  catch :enough do
    Net::HTTP.start(BASE.host, BASE.port) do |http|
      http.request(request) do |answer|
        status = answer.code.to_i
        answer.read_body do |piece|
          unread << piece
          while (event = unread.slice!(/\A.*?\n\n/m))
            seen << [event[/^id: (.*)$/, 1], event[/^data: (.*)$/, 1]] if event =~ /^id: /
            throw :enough if seen.size == most
          end
        end
      end
    end
  end
  [seen, status]
end

def followed
  job = JSON.parse(submitted.body)["id"]
  first, present = events(job, "", 1)[0][0]
  seen, = events(job, first)
  last, data = seen.last
  [seen.map(&:last).include?(present), JSON.parse(data)["state"], events(job, last)[1]]
end

def limited
  answer = get("/v1/jobs")
  answer = get("/v1/jobs") while answer.code == "200"
  sleep answer["Retry-After"].to_i
  [answer.code.to_i, get("/v1/jobs").code.to_i]
end

def idle
  before = get("/v1/limits").code.to_i
  sleep 7
  request = fitted(Net::HTTP::Post.new("/v1/jobs/cancel"), "Content-Type" => "application/json")
  request.body = '{"filter": {"queue": "ocr"}, "dry_run": true}'
  [before, HTTP.request(request).code.to_i]
end

def download(file)
  part = get(file, "Range" => "bytes=0-4")
  unchanged = get(file, "If-None-Match" => part["ETag"])
  [part.code.to_i, part.body, get(file).body[0, 4], unchanged.code.to_i]
end

job = ended(submitted["Location"])
file = job["artifacts"].find { |artifact| artifact["name"] == "document.pdf" }
waited = submitted(SCAN, "Prefer" => "wait=45")
nobody = { "Authorization" => "Bearer nobody" }
expect = { "Expect" => "100-continue" }
puts JSON.generate(
  "upload" => [job["state"], file["filename"]],
  "wait" => [waited.code.to_i, JSON.parse(waited.body)["state"]],
  "chunked" => [chunked],
  "refused" => [submitted(LARGE, nobody).code.to_i, submitted(LARGE).code.to_i],
  "expect" => [submitted(LARGE, nobody.merge(expect)).code.to_i, submitted(SCAN, expect).code.to_i],
  "limited" => limited,
  "events" => followed,
  "download" => download(file["url"]),
  "idle" => idle
)
