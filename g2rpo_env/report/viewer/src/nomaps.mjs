// Stands in the place of d3-geo, a tenth of the bundle: Plot needs it for maps alone, and no chart here is one.
/** Called once when Plot is loaded, and not used after that. */
export const geoTransform = () => ({});

const none = () => {
  throw new Error("maps are not part of this page");
};
export {
  none as geoAlbers, none as geoAlbersUsa, none as geoAzimuthalEqualArea, none as geoAzimuthalEquidistant, none as geoCentroid,
  none as geoClipRectangle, none as geoConicConformal, none as geoConicEqualArea, none as geoConicEquidistant, none as geoEqualEarth,
  none as geoEquirectangular, none as geoGnomonic, none as geoGraticule10, none as geoMercator, none as geoOrthographic, none as geoPath,
  none as geoStereographic, none as geoStream, none as geoTransverseMercator,
};
