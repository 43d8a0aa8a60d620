#include "experiment/chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace pan::experiment {
namespace {

constexpr double kHeight = 520, kPlotWidth = 640, kLeft = 86, kTop = 66, kBottom = 62, kGap = 22;
constexpr double kLegendRow = 22, kLetter = 7.2;  // width of a letter of 13 px, on the safe side

// Okabe and Ito's colours (readable by the colour-blind) without yellow, then three darker ones.
const char* const kColours[] = {"#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                "#E69F00", "#56B4E9", "#6A3D9A", "#8C564B", "#7F7F7F"};
const char* const kDashes[] = {"", "7 3", "2 3"};
constexpr size_t kNumColours = std::size(kColours);

struct Style {
  std::string colour, dash;
};

// The dash changes too, so that neighbours differ in print.
Style style_of(size_t i) { return {kColours[i % kNumColours], kDashes[(i % 2) + (i >= kNumColours)]}; }

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

std::string number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", v);
  return text;
}

std::string tick_text(double value, double step, bool in_percent) {
  if (in_percent) value *= 100, step *= 100;
  const int digits = std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 6);
  if (std::fabs(value) < 0.5 * std::pow(10.0, -digits)) value = 0;  // no minus before a zero
  char text[48];
  std::snprintf(text, sizeof text, "%.*f%s", digits, value, in_percent ? " %" : "");
  return text;
}

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
  void add(double v) {
    if (std::isfinite(v)) low = std::min(low, v), high = std::max(high, v);
  }
  bool empty() const { return low > high; }
};

class Canvas {
 public:
  Canvas(const Chart& chart, const std::vector<double>& x_ticks, const std::vector<double>& y_ticks)
      : chart_(chart), x_ticks_(x_ticks), y_ticks_(y_ticks) {
    size_t longest = 4;
    for (const ChartLine& line : chart.lines) longest = std::max(longest, line.name.size());
    legend_x_ = kLeft + kPlotWidth + kGap;
    width_ = legend_x_ + 40 + kLetter * static_cast<double>(longest) + 12;
    const double rows = kTop + kLegendRow * static_cast<double>(chart.lines.size()) + 20;
    height_ = std::max(kHeight, rows);
  }

  std::string draw() {
    begin();
    axes();
    for (size_t i = 0; i < chart_.lines.size(); ++i) band(chart_.lines[i], style_of(i));
    for (size_t i = 0; i < chart_.lines.size(); ++i) thin_lines(chart_.lines[i], style_of(i));
    for (size_t i = 0; i < chart_.lines.size(); ++i) mean_line(chart_.lines[i], style_of(i));
    for (size_t i = 0; i < chart_.lines.size(); ++i) legend(i);
    return out_ + "</svg>\n";
  }

 private:
  double plot_height() const { return height_ - kTop - kBottom; }
  double x_of(double x) const {
    return kLeft + kPlotWidth * (x - x_ticks_.front()) / (x_ticks_.back() - x_ticks_.front());
  }
  double y_of(double y) const {
    y = std::clamp(y, y_ticks_.front(), y_ticks_.back());  // an interval of a share may leave the axis
    return kTop + plot_height() * (y_ticks_.back() - y) / (y_ticks_.back() - y_ticks_.front());
  }

  void text(double x, double y, const std::string& what, const std::string& more) {
    out_ +=
        "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" " + more + ">" + escaped(what) + "</text>\n";
  }
  void line(double x1, double y1, double x2, double y2, const std::string& more) {
    out_ += "<line x1=\"" + number(x1) + "\" y1=\"" + number(y1) + "\" x2=\"" + number(x2) + "\" y2=\"" +
            number(y2) + "\" " + more + "/>\n";
  }

  void begin() {
    const std::string size = number(width_) + "\" height=\"" + number(height_);
    out_ = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + size + "\" viewBox=\"0 0 " +
           number(width_) + " " + number(height_) +
           "\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\">\n" + "<rect width=\"" + size +
           "\" fill=\"#ffffff\"/>\n";
    text(kLeft, 26, chart_.title, "font-size=\"17\" font-weight=\"bold\"");
    text(kLeft, 47, chart_.note, "fill=\"#555555\"");
  }

  void axes() {
    const double bottom = kTop + plot_height(), right = kLeft + kPlotWidth;
    for (double y : y_ticks_) {
      line(kLeft, y_of(y), right, y_of(y), "stroke=\"#e4e4e4\"");
      text(kLeft - 8, y_of(y) + 4.5, tick_text(y, y_ticks_[1] - y_ticks_[0], chart_.in_percent),
           "text-anchor=\"end\"");
    }
    for (double x : x_ticks_) {
      line(x_of(x), bottom, x_of(x), bottom + 5, "stroke=\"#333333\"");
      text(x_of(x), bottom + 20, tick_text(x, x_ticks_[1] - x_ticks_[0], false), "text-anchor=\"middle\"");
    }
    line(kLeft, bottom, right, bottom, "stroke=\"#333333\"");
    line(kLeft, kTop, kLeft, bottom, "stroke=\"#333333\"");
    text(kLeft + kPlotWidth / 2, bottom + 44, chart_.x_label, "text-anchor=\"middle\"");
    const double middle = kTop + plot_height() / 2;
    text(20, middle, chart_.y_label,
         "text-anchor=\"middle\" transform=\"rotate(-90 20 " + number(middle) + ")\"");
  }

  // A polyline for each stretch of finite values.
  template <class Points, class Y>
  void stretches(const Points& points, const Y& y_at, const std::string& more) {
    std::string at;
    auto flush = [&] {
      if (!at.empty()) out_ += "<polyline points=\"" + at + "\" fill=\"none\" " + more + "/>\n";
      at.clear();
    };
    for (const auto& p : points) {
      const auto [x, y] = y_at(p);
      if (!std::isfinite(y))
        flush();
      else
        at += (at.empty() ? "" : " ") + number(x_of(x)) + "," + number(y_of(y));
    }
    flush();
  }

  void band(const ChartLine& l, const Style& style) {
    std::string upper, lower;
    auto flush = [&] {
      if (!upper.empty())
        out_ += "<polygon points=\"" + upper + lower + "\" fill=\"" + style.colour +
                "\" fill-opacity=\"0.10\" stroke=\"none\"/>\n";
      upper.clear();
      lower.clear();
    };
    for (const ChartPoint& p : l.points) {
      if (!std::isfinite(p.low) || !std::isfinite(p.high)) {
        flush();
        continue;
      }
      upper += (upper.empty() ? "" : " ") + number(x_of(p.x)) + "," + number(y_of(p.high));
      lower = " " + number(x_of(p.x)) + "," + number(y_of(p.low)) + lower;
    }
    flush();
  }

  void thin_lines(const ChartLine& l, const Style& style) {
    for (const auto& seed : l.thin)
      stretches(
          seed, [](const auto& p) { return p; },
          "stroke=\"" + style.colour + "\" stroke-width=\"0.7\" stroke-opacity=\"0.22\"");
  }

  std::string stroke(const Style& style) const {
    return "stroke=\"" + style.colour + "\" stroke-width=\"2.2\" stroke-linejoin=\"round\"" +
           (style.dash.empty() ? "" : " stroke-dasharray=\"" + style.dash + "\"");
  }

  void dot(double x, double y, const Style& style) {
    out_ += "<circle cx=\"" + number(x) + "\" cy=\"" + number(y) + "\" r=\"3.2\" fill=\"" + style.colour +
            "\"/>\n";
  }

  void mean_line(const ChartLine& l, const Style& style) {
    stretches(
        l.points, [](const ChartPoint& p) { return std::pair(p.x, p.mean); }, stroke(style));
    if (l.points.size() > 12) return;
    for (const ChartPoint& p : l.points)
      if (std::isfinite(p.mean)) dot(x_of(p.x), y_of(p.mean), style);
  }

  void legend(size_t i) {
    const double y = kTop + 10 + kLegendRow * static_cast<double>(i);
    line(legend_x_, y, legend_x_ + 30, y, stroke(style_of(i)));
    text(legend_x_ + 38, y + 4.5, chart_.lines[i].name, "");
  }

  const Chart& chart_;
  const std::vector<double>&x_ticks_, &y_ticks_;
  double width_ = 0, height_ = 0, legend_x_ = 0;
  std::string out_;
};

std::string empty_picture(const Chart& chart) {
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"480\" height=\"90\" font-family=\"Helvetica, "
         "Arial, "
         "sans-serif\" font-size=\"13\">\n<rect width=\"480\" height=\"90\" fill=\"#ffffff\"/>\n<text "
         "x=\"20\" "
         "y=\"34\" font-size=\"17\" font-weight=\"bold\">" +
         escaped(chart.title) +
         "</text>\n<text x=\"20\" y=\"62\">no finished run has this figure</text>\n</svg>\n";
}

}  // namespace

std::vector<double> nice_ticks(double low, double high, int about, bool whole) {
  if (!(high > low)) {
    const double room = low == 0 ? 1 : std::fabs(low) * 0.1;
    low -= room;
    high += room;
  }
  const double rough = (high - low) / std::max(1, about);
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (double m : {5.0, 2.0, 1.0})
    if (m * power >= rough * (1 - 1e-9)) step = m * power;
  if (whole) step = std::max(1.0, std::round(step));
  std::vector<double> ticks;
  const double first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  for (double i = first; i <= last; ++i) ticks.push_back(i * step);
  if (ticks.size() < 2) ticks.push_back(ticks.back() + step);
  return ticks;
}

std::string svg_of(const Chart& chart) {
  Range x, y;
  for (const ChartLine& line : chart.lines) {
    for (const ChartPoint& p : line.points) {
      if (!std::isfinite(p.mean)) continue;
      x.add(p.x);
      y.add(p.mean);
      y.add(p.low);
      y.add(p.high);
    }
    for (const auto& seed : line.thin)
      for (const auto& [px, py] : seed) y.add(py);
  }
  if (x.empty()) return empty_picture(chart);
  // A share's interval may leave 0..1; the axis does not.
  const std::vector<double> y_ticks = chart.in_percent
                                          ? nice_ticks(std::max(0.0, y.low), std::min(1.0, y.high), 7)
                                          : nice_ticks(y.low, y.high, 7);
  return Canvas(chart, nice_ticks(x.low, x.high, 8, true), y_ticks).draw();
}

}  // namespace pan::experiment
